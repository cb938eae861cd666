//! Scenarios: what callers send and expect, and what callees answer, read from YAML.
//!
//! `main` loads one, [`Script::bind`] makes of it what an agent plays. The files in `bench/scenarios` are built in, so the
//! program runs anywhere; a path plays one of one's own. Everything is checked here: what loads can be played.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::span::Span;
use crate::template::{Bound, Constants, Field, Template, TemplateError};

/// Legs that one run measures at most.
pub const LEGS: usize = 32;
/// Steps, answers and scenarios of a mix at most, each.
pub const PARTS: usize = 16;

/// The scenarios that come with the program: name and text.
pub const BUILT_IN: [(&str, &str); 10] = [
    ("options", include_str!("../../scenarios/options.yaml")),
    ("call", include_str!("../../scenarios/call.yaml")),
    ("call-digest", include_str!("../../scenarios/call-digest.yaml")),
    ("register", include_str!("../../scenarios/register.yaml")),
    ("register-fresh", include_str!("../../scenarios/register-fresh.yaml")),
    ("register-refresh", include_str!("../../scenarios/register-refresh.yaml")),
    ("register-digest", include_str!("../../scenarios/register-digest.yaml")),
    ("register-storm", include_str!("../../scenarios/register-storm.yaml")),
    ("message", include_str!("../../scenarios/message.yaml")),
    ("mix", include_str!("../../scenarios/mix.yaml")),
];

/// Why a scenario cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// There is no such name, and no such file.
    #[error("there is no scenario `{0}`; built in are {names}, and a path ends with .yaml", names = names())]
    Unknown(String),
    /// The file cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// It is no YAML of that shape.
    #[error("scenario {name}: {error}")]
    Yaml {
        /// Which.
        name: String,
        /// Where and what.
        error: serde_yaml::Error,
    },
    /// A message in it.
    #[error("scenario {name}, {part}: {error}")]
    Template {
        /// Which.
        name: String,
        /// Which message of it.
        part: String,
        /// What.
        error: TemplateError,
    },
    /// Something else that makes no sense.
    #[error("scenario {name}: {what}")]
    Senseless {
        /// Which.
        name: String,
        /// What.
        what: String,
    },
}

fn names() -> String {
    BUILT_IN.map(|(name, _)| name).join(", ")
}

/// Who sends a request, or gets one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The side that calls.
    #[default]
    Caller = 0,
    /// The side that is called, and that registers.
    Callee = 1,
}

/// When credentials are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Credentials {
    /// The request is sent without, and again when it is challenged (401, 407).
    Challenge,
    /// The same the first time; then the user's last nonce is used again with the next count (RFC 7616 section 3.4).
    Remember,
}

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: String,
    rate: Option<f64>,
    hold: Option<Span>,
    prepare: Option<String>,
    #[serde(default)]
    once: bool,
    #[serde(default)]
    mix: Vec<Share>,
    #[serde(default)]
    steps: Vec<StepFile>,
    #[serde(default)]
    answers: Vec<AnswerFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Share {
    scenario: String,
    weight: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepFile {
    request: Option<String>,
    pause: Option<PauseFile>,
    #[serde(default)]
    from: Side,
    message: Option<String>,
    ack: Option<String>,
    credentials: Option<Credentials>,
    #[serde(default)]
    measure: BTreeMap<u16, String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum PauseFile {
    Span(Span),
    Hold(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerFile {
    request: String,
    measure: Option<String>,
    responses: Vec<ResponseFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResponseFile {
    #[serde(default)]
    after: Option<Span>,
    message: String,
}

/// A request and what becomes of it.
#[derive(Clone, Debug)]
struct Request {
    method: String,
    from: Side,
    message: Template,
    ack: Option<Template>,
    credentials: Option<Credentials>,
    measure: Vec<(u16, String)>,
}

#[derive(Clone, Debug)]
enum Step {
    Request(Request),
    Hold,
    Pause(Span),
}

#[derive(Clone, Debug)]
struct Answer {
    method: String,
    measure: Option<String>,
    responses: Vec<(Span, Template)>,
}

/// One sequence of steps with its answers.
#[derive(Clone, Debug)]
struct Part {
    name: String,
    weight: u32,
    steps: Vec<Step>,
    answers: Vec<Answer>,
}

/// A scenario: one sequence of steps, or several that are mixed.
#[derive(Clone, Debug)]
pub struct Script {
    /// Its name.
    pub name: String,
    /// Its own words.
    pub about: String,
    /// The rate that it is played at when nobody says one.
    pub rate: Option<f64>,
    /// How long calls last when nobody says it.
    pub hold: Option<Span>,
    /// The scenario by which all users are made ready before.
    pub prepare: Option<String>,
    /// Each user once, then it is over.
    pub once: bool,
    parts: Vec<Part>,
}

impl Script {
    /// A scenario by its built-in name, or by the path of its file when that ends with `.yaml`.
    ///
    /// # Errors
    /// See [`ScenarioError`].
    pub fn load(wanted: &str) -> Result<Self, ScenarioError> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == wanted) {
            return Self::parse(name, text);
        }
        let path = Path::new(wanted);
        if path.extension().is_none_or(|extension| extension != "yaml") {
            return Err(ScenarioError::Unknown(wanted.to_owned()));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| ScenarioError::Read { path: wanted.to_owned(), error })?;
        let name = path.file_stem().map_or(wanted.into(), |stem| stem.to_string_lossy());
        Self::parse(&name, &text)
    }

    /// A scenario from its text.
    ///
    /// # Errors
    /// See [`ScenarioError`].
    pub fn parse(name: &str, text: &str) -> Result<Self, ScenarioError> {
        Self::parse_nested(name, text, true)
    }

    fn parse_nested(name: &str, text: &str, may_mix: bool) -> Result<Self, ScenarioError> {
        let senseless =
            |what: &str| ScenarioError::Senseless { name: name.to_owned(), what: what.to_owned() };
        let file: File = serde_yaml::from_str(text)
            .map_err(|error| ScenarioError::Yaml { name: name.to_owned(), error })?;
        let mut script = Self {
            name: name.to_owned(),
            about: file.about,
            rate: file.rate,
            hold: file.hold,
            prepare: file.prepare,
            once: file.once,
            parts: Vec::new(),
        };
        if file.steps.len() > PARTS || file.answers.len() > PARTS || file.mix.len() > PARTS {
            return Err(senseless(&format!("more than {PARTS} steps, answers or scenarios")));
        }
        if !file.mix.is_empty() {
            if !may_mix || !file.steps.is_empty() || !file.answers.is_empty() {
                return Err(senseless(
                    "a mix has neither steps nor answers, and is of scenarios that are no mix",
                ));
            }
            for share in &file.mix {
                let known = BUILT_IN.iter().find(|(name, _)| *name == share.scenario);
                let Some((name, text)) = known else {
                    return Err(ScenarioError::Unknown(share.scenario.clone()));
                };
                let mixed = Self::parse_nested(name, text, false)?;
                script.hold = script.hold.or(mixed.hold);
                script
                    .parts
                    .extend(mixed.parts.into_iter().map(|part| Part { weight: share.weight, ..part }));
            }
            if script.parts.iter().all(|part| part.weight == 0) {
                return Err(senseless("all weights are 0"));
            }
        } else {
            let steps = file.steps.into_iter().enumerate();
            let steps = steps.map(|(at, step)| read_step(name, at, step)).collect::<Result<Vec<_>, _>>()?;
            let answers = file.answers.into_iter().map(|answer| read_answer(name, answer));
            let answers = answers.collect::<Result<Vec<_>, _>>()?;
            if !steps.iter().any(|step| matches!(step, Step::Request(_))) {
                return Err(senseless("no step sends a request"));
            }
            script.parts.push(Part { name: name.to_owned(), weight: 1, steps, answers });
        }
        if script.legs().len() > LEGS {
            return Err(senseless(&format!("more than {LEGS} legs are measured")));
        }
        Ok(script)
    }

    /// The legs that it measures, each name once.
    #[must_use]
    pub fn legs(&self) -> Vec<String> {
        let mut legs: Vec<String> = Vec::new();
        let mut add = |leg: &String| {
            if !legs.contains(leg) {
                legs.push(leg.clone());
            }
        };
        for part in &self.parts {
            // In the order in which they happen: the answers' legs come before the first response's.
            part.answers.iter().filter_map(|answer| answer.measure.as_ref()).for_each(&mut add);
            for step in &part.steps {
                if let Step::Request(request) = step {
                    request.measure.iter().for_each(|(_, leg)| add(leg));
                }
            }
        }
        legs
    }

    /// The method of a part's step, for a report.
    pub(crate) fn method(&self, part: u8, step: u8) -> String {
        let part = self.parts.get(usize::from(part));
        let several = self.parts.len() > 1;
        let name = part.map(|part| part.name.as_str()).filter(|_| several);
        let method = match part.and_then(|part| part.steps.get(usize::from(step))) {
            Some(Step::Request(request)) => request.method.as_str(),
            Some(Step::Hold | Step::Pause(_)) => "pause",
            None => "end",
        };
        name.map_or_else(|| method.to_owned(), |name| format!("{name}, {method}"))
    }

    /// Whether calls have a hold time.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.parts.iter().flat_map(|part| &part.steps).any(|step| matches!(step, Step::Hold))
    }

    /// Whether users send credentials.
    #[must_use]
    pub fn authenticates(&self) -> bool {
        self.requests().any(|(_, request)| request.credentials.is_some())
    }

    /// Whether nonces are kept for each user.
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.requests().any(|(_, request)| request.credentials == Some(Credentials::Remember))
    }

    fn requests(&self) -> impl Iterator<Item = (&Part, &Request)> {
        self.parts.iter().flat_map(|part| {
            part.steps.iter().filter_map(move |step| match step {
                Step::Request(request) => Some((part, request)),
                _ => None,
            })
        })
    }

    /// Messages that a proxy receives for one of it when nothing is lost and everything is relayed; for a mix the mean.
    #[must_use]
    pub fn messages(&self) -> f64 {
        let weights: u32 = self.parts.iter().map(|part| part.weight).sum();
        let mut messages = 0.0;
        for (part, request) in self.requests() {
            let answer = part.answers.iter().find(|answer| answer.method == request.method);
            let sent = 1
                + usize::from(request.ack.is_some())
                + answer.map_or(0, |answer| answer.responses.len())
                // The first attempt, and for INVITE the ACK of its refusal (RFC 3261 section 17.1.1.3).
                + match (request.credentials, request.method.as_str()) {
                    (Some(Credentials::Challenge), "INVITE") => 2,
                    (Some(Credentials::Challenge), _) => 1,
                    _ => 0,
                };
            messages += sent as f64 * f64::from(part.weight) / f64::from(weights.max(1));
        }
        messages
    }

    /// What an agent plays: the templates with its constants in them. `constants` has the callers', then the callees'.
    #[must_use]
    pub fn bind(&self, constants: &[Constants; 2]) -> Vec<BoundPart> {
        let legs = self.legs();
        let leg = |name: &String| legs.iter().position(|leg| leg == name).map(|at| at as u8);
        let bind_request = |request: &Request| {
            let local = &constants[request.from as usize];
            BoundRequest {
                method: request.method.clone().into_bytes(),
                from: request.from,
                message: request.message.bind(local),
                ack: request.ack.as_ref().map(|ack| ack.bind(local)),
                credentials: request.credentials,
                measure: request
                    .measure
                    .iter()
                    .filter_map(|(code, name)| leg(name).map(|leg| (*code, leg)))
                    .collect(),
            }
        };
        let bind_answer = |answer: &Answer| BoundAnswer {
            method: answer.method.clone().into_bytes(),
            leg: answer.measure.as_ref().and_then(leg),
            responses: answer
                .responses
                .iter()
                .map(|(after, template)| (*after, template.bind(&constants[Side::Callee as usize])))
                .collect(),
        };
        self.parts
            .iter()
            .map(|part| BoundPart {
                name: part.name.clone(),
                weight: part.weight,
                steps: part
                    .steps
                    .iter()
                    .map(|step| match step {
                        Step::Request(request) => BoundStep::Request(bind_request(request)),
                        Step::Hold => BoundStep::Hold,
                        Step::Pause(span) => BoundStep::Pause(*span),
                    })
                    .collect(),
                answers: part.answers.iter().map(bind_answer).collect(),
            })
            .collect()
    }
}

fn read_step(name: &str, at: usize, step: StepFile) -> Result<Step, ScenarioError> {
    let senseless = |what: &str| ScenarioError::Senseless {
        name: name.to_owned(),
        what: format!("step {}: {what}", at + 1),
    };
    match (step.request, step.pause) {
        (None, Some(PauseFile::Hold(hold))) if hold == "hold" => Ok(Step::Hold),
        (None, Some(PauseFile::Hold(other))) => {
            Err(senseless(&format!("`pause` is `hold` or a time such as 250ms, not `{other}`")))
        }
        (None, Some(PauseFile::Span(span))) => Ok(Step::Pause(span)),
        (Some(method), None) => {
            let message = step.message.ok_or_else(|| senseless("a request needs its `message`"))?;
            let what = format!("step {} ({method})", at + 1);
            let template = read_template(name, &what, &message, &method)?;
            let ack = match step.ack {
                Some(text) => Some(read_template(name, &format!("{what}, its ack"), &text, "ACK")?),
                None => None,
            };
            if ack.is_some() != (method == "INVITE") {
                return Err(senseless("INVITE has an `ack`, and nothing else has (RFC 3261 section 17)"));
            }
            if step.credentials.is_some() && !template.has(Field::Authorization) {
                return Err(senseless("with `credentials` the message needs a line {authorization}"));
            }
            if !template.has(Field::Branch) {
                return Err(senseless("responses are known by the Via's {branch}, which is missing"));
            }
            if let Some(code) = step.measure.keys().find(|code| !(100..700).contains(*code)) {
                return Err(senseless(&format!("`measure` has {code}, which is no status code")));
            }
            Ok(Step::Request(Request {
                method,
                from: step.from,
                message: template,
                ack,
                credentials: step.credentials,
                measure: step.measure.into_iter().collect(),
            }))
        }
        _ => Err(senseless("either `request` or `pause`")),
    }
}

fn read_answer(name: &str, answer: AnswerFile) -> Result<Answer, ScenarioError> {
    let part = format!("answer to {}", answer.request);
    let senseless =
        |what: &str| ScenarioError::Senseless { name: name.to_owned(), what: format!("{part}: {what}") };
    let last = answer.responses.len().checked_sub(1).ok_or_else(|| senseless("no response"))?;
    let mut responses = Vec::new();
    for (at, response) in answer.responses.into_iter().enumerate() {
        let template = read_template(name, &part, &response.message, "SIP/2.0")?;
        let is_final = !response.message.starts_with("SIP/2.0 1");
        if is_final != (at == last) {
            return Err(senseless("the last response is final, those before it are provisional"));
        }
        let after = response.after.unwrap_or_default();
        if !after.is_zero() && (at != last || answer.request != "INVITE") {
            return Err(senseless("only the final response to an INVITE can wait (`after`)"));
        }
        responses.push((after, template));
    }
    Ok(Answer { method: answer.request, measure: answer.measure, responses })
}

/// `begins` is the method, or the version of a response.
fn read_template(name: &str, part: &str, text: &str, begins: &str) -> Result<Template, ScenarioError> {
    let failed = |error| ScenarioError::Template { name: name.to_owned(), part: part.to_owned(), error };
    if text.split(' ').next() != Some(begins) {
        return Err(failed(TemplateError::Sip(format!("it does not begin with `{begins} `"))));
    }
    let template = Template::parse(text).map_err(failed)?;
    template.check().map_err(failed)?;
    Ok(template)
}

/// A [`Script`]'s part for one agent.
#[derive(Clone, Debug)]
pub struct BoundPart {
    /// The scenario's name.
    pub name: String,
    /// Its share of a mix.
    pub weight: u32,
    /// What the caller does.
    pub steps: Vec<BoundStep>,
    /// What the callee answers.
    pub answers: Vec<BoundAnswer>,
}

/// One step.
#[derive(Clone, Debug)]
pub enum BoundStep {
    /// A request, until its final response.
    Request(BoundRequest),
    /// The call's hold time.
    Hold,
    /// A pause.
    Pause(Span),
}

/// A request.
#[derive(Clone, Debug)]
pub struct BoundRequest {
    /// INVITE and so on.
    pub method: Vec<u8>,
    /// Who sends it.
    pub from: Side,
    /// The message.
    pub message: Bound,
    /// The ACK for its 2xx.
    pub ack: Option<Bound>,
    /// Whether and when credentials are sent.
    pub credentials: Option<Credentials>,
    /// Leg by status code.
    pub measure: Vec<(u16, u8)>,
}

/// What a request is answered.
#[derive(Clone, Debug)]
pub struct BoundAnswer {
    /// The request's method.
    pub method: Vec<u8>,
    /// The leg from the request's sending to its coming here.
    pub leg: Option<u8>,
    /// Provisional ones and the final one, with the time before it.
    pub responses: Vec<(Span, Bound)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_can_be_played() {
        for (name, text) in BUILT_IN {
            let script = Script::parse(name, text).unwrap_or_else(|error| panic!("{error}"));
            assert!(!script.about.is_empty() && !script.legs().is_empty(), "{name}");
            if let Some(prepare) = &script.prepare {
                Script::load(prepare).unwrap_or_else(|error| panic!("{error}"));
            }
        }
        let call = Script::load("call").expect("built in");
        assert_eq!(call.legs(), ["INVITE in→out", "INVITE→100", "INVITE→180", "INVITE→200", "BYE→200"]);
        assert_eq!(call.messages(), 6.0);
        assert_eq!(Script::load("register-digest").expect("built in").messages(), 2.0);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let call = BUILT_IN[1].1;
        let refused = |from: &str, to: &str| {
            assert!(call.contains(from), "{from}");
            let error = Script::parse("mine", &call.replacen(from, to, 1)).expect_err("refused");
            error.to_string()
        };
        assert!(refused("about:", "abuot:").contains("abuot"));
        assert!(
            refused("request: INVITE", "request: INVIET").contains("step 1 (INVIET): this is no SIP message")
        );
        assert!(refused("pause: hold", "pause: hodl").contains("step 2: `pause` is `hold`"));
        assert!(refused("{branch}", "{brunch}").contains("there is no field {brunch}"));
        assert!(refused("100: INVITE→100", "99: INVITE→100").contains("no status code"));
        assert!(refused("SIP/2.0 180 Ringing", "SIP/2.0 200 OK").contains("the last response is final"));
        assert!(matches!(Script::load("cal"), Err(ScenarioError::Unknown(_))));
        assert!(matches!(Script::load("/no/such.yaml"), Err(ScenarioError::Read { .. })));
    }
}
