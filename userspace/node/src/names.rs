//! Names of next hops: a thread of its own that asks name servers for the workers (RFC 3263).
//!
//! Workers put questions into one bounded channel and find answers in one of their own; neither ever waits for the
//! other. A question that finds the channel full is lost, and the engine asks again in a few seconds; nobody but the
//! calls to that name notices. What is asked in which order is the engine's [`Walk`]; packets are hickory's.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use strowger_engine::resolve::{Naptr, Query, Question, Records, Resolution, Srv, Step, Walk, limit};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

use crate::config::Dns;
use crate::fault::Fault;

/// Questions under way at once, for all workers: as many as one engine asks.
const AT_ONCE: usize = limit::PENDING;

/// A worker's end.
pub(crate) struct Asker {
    worker: usize,
    questions: tokio::sync::mpsc::Sender<(usize, Query)>,
    answers: mpsc::Receiver<Resolution>,
}

impl Asker {
    /// Hands a question over. `false`: too many are under way, and it is lost.
    pub(crate) fn ask(&self, query: Query) -> bool {
        self.questions.try_send((self.worker, query)).is_ok()
    }

    /// The next answer, if there is one now.
    pub(crate) fn answer(&self) -> Option<Resolution> {
        self.answers.try_recv().ok()
    }
}

/// Starts the thread, in the network namespace of the calling one. It ends when all its askers are gone.
pub(crate) fn start(dns: &Dns, workers: usize) -> Result<Vec<Asker>, Fault> {
    let (questions, mut asked) = tokio::sync::mpsc::channel::<(usize, Query)>(AT_ONCE);
    let (askers, desks): (Vec<_>, Vec<_>) = (0..workers)
        .map(|worker| {
            let (desk, answers) = mpsc::sync_channel(AT_ONCE);
            (Asker { worker, questions: questions.clone(), answers }, desk)
        })
        .unzip();
    let failed = |e: std::io::Error| Fault::Other(format!("cannot start the thread for names: {e}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let dns = dns.clone();
    let work = move || {
        LocalSet::new().block_on(&runtime, async move {
            let resolver = match resolver(&dns) {
                Ok(resolver) => Rc::new(resolver),
                Err(error) => {
                    // Calls to names are refused, all others go on.
                    tracing::error!(%error, "dns: no name server can be asked; next hops that are names are not reached");
                    return;
                }
            };
            let room = Arc::new(Semaphore::new(AT_ONCE));
            while let Some((worker, query)) = asked.recv().await {
                let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
                let (resolver, desk) = (Rc::clone(&resolver), desks.get(worker).cloned());
                tokio::task::spawn_local(async move {
                    let resolution = walk(&resolver, &query).await;
                    // A worker that does not look has its questions run out by themselves.
                    let _ = desk.map(|desk| desk.try_send(resolution));
                    drop(permit);
                });
            }
        });
    };
    std::thread::Builder::new().name("names".to_owned()).spawn(work).map_err(failed)?;
    Ok(askers)
}

/// From a name to its addresses.
async fn walk(resolver: &TokioResolver, query: &Query) -> Resolution {
    let mut walk = Walk::new(query);
    loop {
        match walk.step() {
            Step::Done(resolution) => return resolution,
            Step::Ask(question) => {
                let (records, ttl) = ask(resolver, &question).await;
                walk.answer(records, ttl);
            }
        }
    }
}

async fn ask(resolver: &TokioResolver, question: &Question) -> (Records, Duration) {
    match question {
        Question::Naptr(name) => {
            let naptr = |data: &RData| match data {
                RData::NAPTR(naptr) => Some(Naptr {
                    order: naptr.order,
                    preference: naptr.preference,
                    flags: String::from_utf8_lossy(&naptr.flags).into_owned(),
                    service: String::from_utf8_lossy(&naptr.services).into_owned(),
                    replacement: naptr.replacement.to_ascii(),
                }),
                _ => None,
            };
            lookup(resolver, name, RecordType::NAPTR, naptr, Records::Naptr).await
        }
        Question::Srv(name) => {
            let srv = |data: &RData| match data {
                RData::SRV(srv) => Some(Srv {
                    priority: srv.priority,
                    weight: srv.weight,
                    port: srv.port,
                    target: srv.target.to_ascii(),
                }),
                _ => None,
            };
            lookup(resolver, name, RecordType::SRV, srv, Records::Srv).await
        }
        Question::Addresses(name) => {
            let v6 = |data: &RData| match data {
                RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
                _ => None,
            };
            let v4 = |data: &RData| match data {
                RData::A(ip) => Some(IpAddr::V4(ip.0)),
                _ => None,
            };
            let (six, four) = tokio::join!(
                lookup(resolver, name, RecordType::AAAA, v6, Records::Addresses),
                lookup(resolver, name, RecordType::A, v4, Records::Addresses)
            );
            both(six, four)
        }
    }
}

/// IPv6 before IPv4, as RFC 6724 has it; the engine leaves out what it does not listen on.
fn both(six: (Records, Duration), four: (Records, Duration)) -> (Records, Duration) {
    let ttl = six.1.min(four.1);
    match (six.0, four.0) {
        (Records::Addresses(mut six), Records::Addresses(four)) => {
            six.extend(four);
            (Records::Addresses(six), ttl)
        }
        (found @ Records::Addresses(_), _) => (found, six.1),
        (_, found @ Records::Addresses(_)) => (found, four.1),
        (Records::Failed, _) | (_, Records::Failed) => (Records::Failed, Duration::ZERO),
        _ => (Records::Nothing, ttl),
    }
}

async fn lookup<T>(
    resolver: &TokioResolver,
    name: &str,
    kind: RecordType,
    read: impl Fn(&RData) -> Option<T>,
    all: impl Fn(Vec<T>) -> Records,
) -> (Records, Duration) {
    let Ok(mut name) = Name::from_ascii(name) else { return (Records::Nothing, limit::NOTHING) };
    // The name in a URI is whole: no search list is put behind it.
    name.set_fqdn(true);
    match resolver.lookup(name, kind).await {
        Ok(found) => {
            let records: Vec<T> = found.answers().iter().filter_map(|record| read(&record.data)).collect();
            let ttl = found.valid_until().saturating_duration_since(Instant::now());
            (if records.is_empty() { Records::Nothing } else { all(records) }, ttl)
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
            (Records::Nothing, Duration::from_secs(none.negative_ttl.unwrap_or(0).into()))
        }
        Err(error) => {
            tracing::debug!(%error, "no answer from a name server");
            (Records::Failed, Duration::ZERO)
        }
    }
}

/// The configured name servers, or those of the system.
fn resolver(dns: &Dns) -> Result<TokioResolver, NetError> {
    let provider = TokioRuntimeProvider::default();
    let mut builder = if dns.servers.is_empty() {
        TokioResolver::builder(provider)?
    } else {
        let servers = dns.servers.iter().map(|server| {
            let connection = |protocol| {
                let mut connection = ConnectionConfig::new(protocol);
                connection.port = server.port();
                connection
            };
            let connections = vec![connection(ProtocolConfig::Udp), connection(ProtocolConfig::Tcp)];
            NameServerConfig::new(server.ip(), true, connections)
        });
        TokioResolver::builder_with_config(
            ResolverConfig::from_parts(None, Vec::new(), servers.collect()),
            provider,
        )
    };
    let options = builder.options_mut();
    options.timeout = Duration::from_secs(dns.timeout.into());
    options.attempts = 1;
    builder.build()
}

#[cfg(test)]
mod tests;
