//! The answering side: the Unix socket, its ownership, and a bound on how many may ask at once.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::fault::Fault;
use crate::status::model::Request;

/// Askers served at once; more wait in the listen queue.
const AT_ONCE: usize = 8;
/// An asker that does not read for so long is left.
const WRITE_PATIENCE: Duration = Duration::from_secs(1);
/// One that does not say what he wants for so long, neither by closing his side, gets the status.
const READ_PATIENCE: Duration = Duration::from_millis(500);
/// Octets of a request at most; a Call-ID has up to 1,024 (and six times as many in JSON).
const REQUEST: u64 = 16_384;

/// The socket's file; removed when dropped, unless another node has it by then.
#[derive(Debug)]
pub(crate) struct Bound {
    path: PathBuf,
    listener: Option<std::os::unix::net::UnixListener>,
    /// The same once more, for a node that takes this one's place.
    desk: Arc<OwnedFd>,
    ours: bool,
}

impl Drop for Bound {
    fn drop(&mut self) {
        if self.ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Bound {
    /// Takes the socket's path: makes the directory (0700) where it is missing, clears away what a killed node left,
    /// refuses when a node lives there.
    pub(crate) fn bind(path: &Path) -> Result<Bound, Fault> {
        let fault = |problem: String| Fault::StatusSocket { path: path.into(), problem };
        if let Some(dir) = path.parent()
            && !dir.as_os_str().is_empty()
            && !dir.exists()
        {
            std::fs::create_dir_all(dir)
                .and_then(|()| std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)))
                .map_err(|e| {
                    fault(format!("cannot make its directory: {e}; set node.socket to a path you own"))
                })?;
        }
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => {
                return Err(fault(
                    "a node of this name runs already; stop it, take its place with --replace, or give this one another node.name".into(),
                ));
            }
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path)
                    .map_err(|e| fault(format!("cannot remove what a dead node left: {e}")))?;
            }
            Err(_) => {}
        }
        let listener = std::os::unix::net::UnixListener::bind(path)
            .map_err(|e| fault(format!("cannot bind: {e}; set node.socket to a path you own")))?;
        let bound = Bound::over(path, listener)?;
        // The process's umask makes the file 0600 from its first moment (see `run`); this is for a directory of others.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .map_err(|e| fault(format!("cannot make it private: {e}")))?;
        Ok(bound)
    }

    /// The socket that another process has bound to this path, and given to this one.
    pub(crate) fn inherit(path: &Path, desk: OwnedFd) -> Result<Bound, Fault> {
        Bound::over(path, desk.into())
    }

    fn over(path: &Path, listener: std::os::unix::net::UnixListener) -> Result<Bound, Fault> {
        let desk = listener.try_clone().map_err(|error| Fault::StatusSocket {
            path: path.into(),
            problem: format!("cannot be had twice: {error}"),
        })?;
        Ok(Bound { path: path.into(), listener: Some(listener), desk: Arc::new(desk.into()), ours: true })
    }

    /// The listening socket itself.
    pub(crate) fn desk(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.desk)
    }

    /// Another process has it from now on.
    pub(crate) fn leave(&mut self) {
        self.ours = false;
    }

    /// Serves for ever. `reply` makes the answer to one request, a line of JSON; whoever asks for this node's place is given to
    /// `hand_over`, with the format that he speaks.
    pub(crate) async fn serve<F, S, H, G>(&mut self, reply: S, hand_over: H) -> io::Result<()>
    where
        S: Fn(Request) -> F + Clone + 'static,
        F: Future<Output = Vec<u8>> + 'static,
        H: Fn(std::os::unix::net::UnixStream, String) -> G + Clone + 'static,
        G: Future<Output = ()> + 'static,
    {
        let Some(listener) = self.listener.take() else { return Err(io::Error::other("served twice")) };
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let places = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: an operator can wait, the calls must not notice.
                    tracing::warn!(%error, "status socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (reply, hand_over) = (reply.clone(), hand_over.clone());
            tokio::task::spawn_local(async move {
                if let Some((stream, format)) = answer(stream, reply).await {
                    hand_over(stream, format).await;
                }
                drop(place);
            });
        }
    }
}

/// Answers one asker, or returns him with the format in which he wants this node's place.
async fn answer<F: Future<Output = Vec<u8>>>(
    mut stream: UnixStream,
    reply: impl FnOnce(Request) -> F,
) -> Option<(std::os::unix::net::UnixStream, String)> {
    let mut line = Vec::new();
    let mut reader = BufReader::new((&mut stream).take(REQUEST));
    // Whatever was said by then counts.
    let _ = tokio::time::timeout(READ_PATIENCE, reader.read_until(b'\n', &mut line)).await;
    let request = match line.trim_ascii() {
        [] => Ok(Request::Status),
        line => serde_json::from_slice(line),
    };
    let mut text = match request {
        // He says nothing more until he is answered, so nothing is lost with the reader.
        Ok(Request::HandOver { format }) => return stream.into_std().ok().map(|stream| (stream, format)),
        Ok(request) => reply(request).await,
        Err(error) => serde_json::json!({ "error": error.to_string() }).to_string().into_bytes(),
    };
    text.push(b'\n');
    // An asker who went away is his own business.
    let _ = tokio::time::timeout(WRITE_PATIENCE, stream.write_all(&text)).await;
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_asked_decides_what_is_answered() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("node.sock");
        let mut bound = Bound::bind(&path).expect("binds");
        let local = tokio::task::LocalSet::new();
        local.spawn_local(async move {
            let say = |text: String| async move { text.into_bytes() };
            let takes = |mut stream: std::os::unix::net::UnixStream, format: String| async move {
                stream.set_nonblocking(false).expect("set");
                io::Write::write_all(&mut stream, format!("yours {format}").as_bytes()).expect("writes");
            };
            bound.serve(move |request| say(format!("{request:?}")), takes).await
        });
        let ask = async |text: &str, shutdown: bool| {
            let mut stream = UnixStream::connect(&path).await.expect("connects");
            stream.write_all(text.as_bytes()).await.expect("writes");
            if shutdown {
                stream.shutdown().await.expect("shuts down");
            }
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("reads");
            answer
        };
        local
            .run_until(async {
                for (text, shutdown, answer) in [
                    ("", true, "Status\n"),
                    ("", false, "Status\n"),
                    ("\n", false, "Status\n"),
                    ("{\"ask\":\"status\"}\n", false, "Status\n"),
                    ("{\"ask\":\"kill\",\"call_id\":\"a@b\"}", true, "Kill { call_id: \"a@b\" }\n"),
                    ("{\"ask\":\"hand-over\",\"format\":\"1.1\"}\n", false, "yours 1.1"),
                ] {
                    assert_eq!(ask(text, shutdown).await, answer, "{text}");
                }
                for wrong in ["{\"ask\":\"dance\"}\n", "status\n", "{\"ask\":\"kill\"}\n"] {
                    assert!(ask(wrong, false).await.starts_with("{\"error\":"), "{wrong}");
                }
            })
            .await;
    }

    #[test]
    fn private_and_gone_afterwards_and_dead_ones_cleared() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("run/node.sock");
        let bound = Bound::bind(&path).expect("binds");
        assert_eq!(std::fs::metadata(&path).map(|m| m.permissions().mode() & 0o777).ok(), Some(0o600));
        assert_eq!(
            std::fs::metadata(dir.path().join("run")).map(|m| m.permissions().mode() & 0o777).ok(),
            Some(0o700)
        );

        let fault = Bound::bind(&path).expect_err("a node lives there");
        assert_eq!(fault.code(), 6);
        assert!(fault.to_string().contains("runs already"), "{fault}");

        drop(bound);
        assert!(!path.exists());

        let mut given = Bound::bind(&path).expect("binds");
        let desk = given.desk().try_clone().expect("a descriptor");
        given.leave();
        drop(given);
        let taken = Bound::inherit(&path, desk).expect("taken over");
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok(), "it listens all the time");
        drop(taken);
        assert!(!path.exists(), "whoever has it last removes it");

        // What `kill -9` leaves: the file without a listener.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("binds"));
        assert!(path.exists());
        Bound::bind(&path).expect("clears it away");
    }
}
