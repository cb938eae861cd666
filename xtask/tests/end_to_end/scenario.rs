//! Scenarios for sipp, written as a call goes: what one side sends and what it waits for, in order. sipp counts a call
//! as failed when anything else happens.
//!
//! Fields of the injected lines: who calls, who is called, and where it authenticates its `[authentication …]`. Keywords
//! are the domain of all users and the port to which a phone wants its requests, `contact`; see `crate::cast`.

use strowger_xtask::sipp;

/// What one side of a call does.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    name: &'static str,
    called: bool,
    steps: String,
    /// Of the last INVITE, REGISTER or BYE sent.
    sequence: u32,
}

/// The dialog's and the transaction's headers of a request from the calling side.
const CALLING: &str = "From: <sip:[field0]@[domain]>;tag=[pid]c[call_number]\nCall-ID: [call_id]\n";
const VIA: &str = "Via: SIP/2.0/UDP [local_ip]:[local_port];rport;branch=z9hG4bK-[pid]-[call_number]";
const SDP: &str =
    "v=0\no=lab 1 1 IN IP4 [local_ip]\ns=-\nc=IN IP4 [local_ip]\nt=0 0\nm=audio 6000 RTP/AVP 8\n";

impl Scenario {
    /// The side that begins calls.
    pub(crate) fn calling(name: &'static str) -> Self {
        Self { name, called: false, steps: String::new(), sequence: 0 }
    }

    /// The side that is called.
    pub(crate) fn called(name: &'static str) -> Self {
        Self { called: true, ..Self::calling(name) }
    }

    /// The scenario file.
    pub(crate) fn text(&self) -> String {
        // What is matched and not used has to be mentioned.
        let kept = if self.called { "<Reference variables=\"matched,vias\"/>\n" } else { "" };
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<scenario name=\"{}\">\n{}{kept}</scenario>\n",
            self.name, self.steps
        )
    }

    /// As sipp is told of it; `text` is what [`Scenario::text`] gave.
    pub(crate) fn for_sipp<'a>(&self, text: &'a str) -> sipp::Scenario<'a> {
        sipp::Scenario { name: self.name, text, called: self.called }
    }

    /// Names its files and its failures.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    fn step(mut self, step: impl AsRef<str>) -> Self {
        self.steps.push_str(step.as_ref());
        self.steps.push('\n');
        self
    }

    fn send(self, attributes: &str, message: &str) -> Self {
        self.step(format!("<send {attributes}><![CDATA[\n\n{message}\n]]></send>"))
    }

    /// Nothing for this long; what comes meanwhile fails the call.
    pub(crate) fn pause(self, milliseconds: u32) -> Self {
        self.step(format!("<pause milliseconds=\"{milliseconds}\"/>"))
    }

    /// The call is over; what the other side repeats is answered for this long.
    pub(crate) fn linger(self, milliseconds: u32) -> Self {
        self.step(format!("<timewait milliseconds=\"{milliseconds}\"/>"))
    }
}

/// The calling side.
impl Scenario {
    /// REGISTER; `credentials` when it answers a challenge.
    pub(crate) fn register(mut self, credentials: bool) -> Self {
        self.sequence += 1;
        let (n, credentials) = (self.sequence, if credentials { "[field2]\n" } else { "" });
        self.send(
            &format!("retrans=\"500\" start_txn=\"register{n}\""),
            &format!(
                "REGISTER sip:[domain] SIP/2.0\n{VIA}-r{n}\nMax-Forwards: 70\n{CALLING}\
                 To: <sip:[field0]@[domain]>\nCSeq: {n} REGISTER\nContact: <sip:[field0]@[local_ip]:[contact]>\n\
                 {credentials}Expires: 3600\nContent-Length: 0\n"
            ),
        )
    }

    /// INVITE; `credentials` when it answers a challenge.
    pub(crate) fn invite(mut self, credentials: bool) -> Self {
        self.sequence += 1;
        let (n, credentials) = (self.sequence, if credentials { "[field2]\n" } else { "" });
        self.send(
            &format!("retrans=\"500\" start_txn=\"invite{n}\""),
            &format!(
                "INVITE sip:[field1]@[domain] SIP/2.0\n{VIA}-i{n}\nMax-Forwards: 70\n{CALLING}\
                 To: <sip:[field1]@[domain]>\nCSeq: {n} INVITE\nContact: <sip:[field0]@[local_ip]:[contact]>\n\
                 {credentials}Content-Type: application/sdp\nContent-Length: [len]\n\n{SDP}"
            ),
        )
    }

    /// Registers, shows who it is when it is asked (section 22.2), and this comes of it.
    pub(crate) fn registers_with_credentials(outcome: u16) -> Self {
        Self::calling("register")
            .register(false)
            .expect("register", 401)
            .register(true)
            .expect("register", outcome)
    }

    /// Calls, shows who it is when it is asked (section 22.3), and hangs up soon.
    pub(crate) fn calls_with_credentials() -> Self {
        Self::calling("calling")
            .invite(false)
            .perhaps("invite", 100)
            .expect("invite", 407)
            .ack_refusal()
            .invite(true)
            .perhaps("invite", 100)
            .perhaps("invite", 180)
            .expect("invite", 200)
            .ack()
            .pause(50)
            .bye()
    }

    /// CANCEL of the last INVITE (section 9.1: its branch and its number).
    pub(crate) fn cancel(self) -> Self {
        let n = self.sequence;
        self.send(
            &format!("retrans=\"500\" start_txn=\"cancel{n}\""),
            &format!(
                "CANCEL sip:[field1]@[domain] SIP/2.0\n{VIA}-i{n}\nMax-Forwards: 70\n{CALLING}\
                 To: <sip:[field1]@[domain]>\nCSeq: {n} CANCEL\nContent-Length: 0\n"
            ),
        )
    }

    /// ACK for a 2xx: a request of its own along the route set.
    pub(crate) fn ack(self) -> Self {
        let n = self.sequence;
        self.send(
            &format!("ack_txn=\"invite{n}\""),
            &format!(
                "ACK [next_url] SIP/2.0\n{VIA}-a{n}\n[routes]\nMax-Forwards: 70\n{CALLING}To: [$to]\n\
                 CSeq: {n} ACK\nContent-Length: 0\n"
            ),
        )
    }

    /// ACK for any other final response: part of the INVITE's transaction (section 17.1.1.3).
    pub(crate) fn ack_refusal(self) -> Self {
        let n = self.sequence;
        self.send(
            &format!("ack_txn=\"invite{n}\""),
            &format!(
                "ACK sip:[field1]@[domain] SIP/2.0\n{VIA}-i{n}\nMax-Forwards: 70\n{CALLING}\
                 [last_To:]\nCSeq: {n} ACK\nContent-Length: 0\n"
            ),
        )
    }

    /// BYE, and its 200.
    pub(crate) fn bye(mut self) -> Self {
        self.sequence += 1;
        let n = self.sequence;
        self.send(
            &format!("retrans=\"500\" start_txn=\"bye{n}\""),
            &format!(
                "BYE [next_url] SIP/2.0\n{VIA}-b{n}\n[routes]\nMax-Forwards: 70\n{CALLING}\
                 To: [$to]\nCSeq: {n} BYE\nContent-Length: 0\n"
            ),
        )
        .perhaps("bye", 100)
        .expect("bye", 200)
    }

    /// A response to the last request of this method (in small letters) must come.
    pub(crate) fn expect(self, method: &str, code: u16) -> Self {
        self.expect_within(method, code, 33_000)
    }

    /// The same, with an own time limit in milliseconds.
    pub(crate) fn expect_within(self, method: &str, code: u16, limit: u32) -> Self {
        let n = self.sequence;
        // The route set and the challenge are those of this response.
        let more = match code {
            200 if method == "invite" => " rrs=\"true\"",
            401 | 407 => " auth=\"true\"",
            _ => "",
        };
        // The other side's tag, of the dialog that this one begins.
        let tag = if method == "invite" && code == 200 {
            "<action><ereg regexp=\".*\" search_in=\"hdr\" header=\"To:\" assign_to=\"to\"/></action>"
        } else {
            ""
        };
        self.step(format!(
            "<recv response=\"{code}\" response_txn=\"{method}{n}\" timeout=\"{limit}\"{more}>{tag}</recv>"
        ))
    }

    /// A response that may come, any number of times.
    pub(crate) fn perhaps(self, method: &str, code: u16) -> Self {
        let n = self.sequence;
        self.step(format!("<recv response=\"{code}\" response_txn=\"{method}{n}\" optional=\"true\"/>"))
    }
}

/// The called side.
impl Scenario {
    /// The INVITE. Its Via lines (and the Record-Route among them) are kept for answers that follow a CANCEL.
    pub(crate) fn invited(self) -> Self {
        self.step(
            "<recv request=\"INVITE\" rrs=\"true\"><action><ereg \
             regexp=\"(Via:.*[^[:space:]])[[:space:]]+Max-Forwards\" search_in=\"msg\" check_it=\"true\" \
             assign_to=\"matched,vias\"/></action></recv>",
        )
    }

    /// Another request of the call.
    pub(crate) fn receive(self, method: &str) -> Self {
        self.step(format!("<recv request=\"{method}\"/>"))
    }

    /// A request that may come, any number of times.
    pub(crate) fn receive_perhaps(self, method: &str) -> Self {
        self.step(format!("<recv request=\"{method}\" optional=\"true\"/>"))
    }

    /// An answer to the last request, which is not the INVITE.
    pub(crate) fn reply(self, status: &str) -> Self {
        self.answer("[last_Via:]", status, "[last_CSeq:]", "")
    }

    /// An answer to the INVITE; a final one is repeated until the ACK.
    pub(crate) fn reply_to_invite(self, status: &str) -> Self {
        let repeated = if status.starts_with('1') { "" } else { "retrans=\"500\"" };
        // After a CANCEL the last message is that; a call that is cancelled here was not challenged before.
        let sequence =
            if self.steps.contains("request=\"CANCEL\"") { "CSeq: 1 INVITE" } else { "[last_CSeq:]" };
        self.answer("[$vias]", status, sequence, repeated)
    }

    fn answer(self, way: &str, status: &str, sequence: &str, attributes: &str) -> Self {
        // A request within the dialog has the tag already.
        let tag = if self.steps.contains("request=\"ACK\"") { "" } else { ";tag=[pid]s[call_number]" };
        let body = if way == "[$vias]" && status.starts_with('2') {
            format!("Content-Type: application/sdp\nContent-Length: [len]\n\n{SDP}")
        } else {
            "Content-Length: 0\n".to_owned()
        };
        self.send(
            attributes,
            &format!(
                "SIP/2.0 {status}\n{way}\n[last_From:]\n[last_To:]{tag}\n[last_Call-ID:]\n{sequence}\n\
                 Contact: <sip:[local_ip]:[contact]>\n{body}"
            ),
        )
    }

    /// Rings, answers, is hung up on.
    pub(crate) fn answers(self, ringing: u32) -> Self {
        self.invited()
            .reply_to_invite("180 Ringing")
            .pause(ringing)
            .reply_to_invite("200 OK")
            .receive("ACK")
            .receive("BYE")
            .reply("200 OK")
    }

    /// Rings until it is cancelled.
    pub(crate) fn rings_in_vain(self) -> Self {
        self.invited().reply_to_invite("180 Ringing").cancelled()
    }

    /// The CANCEL comes and succeeds (section 9.2).
    pub(crate) fn cancelled(self) -> Self {
        self.receive("CANCEL").reply("200 OK").reply_to_invite("487 Request Terminated").receive("ACK")
    }

    /// Refuses.
    pub(crate) fn refuses(self, status: &str) -> Self {
        self.invited().reply_to_invite(status).receive("ACK")
    }
}
