//! The way to the server: attempts, verdicts, back-off.

use std::hash::{BuildHasher, RandomState};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::client::Client;
use super::exchange::{Content, Exchange, Failure, Reply};
use super::retry;
use super::server::Server;
use crate::clock::Clock;
use crate::error::Result;
use crate::limits::{EXPORT_LONGEST_TIMEOUT, EXPORT_QUICK_ATTEMPTS, EXPORT_WORDS};
use crate::wait::Wait;

/// Doublings of a timeout before its cap counts alone.
const MOST_PATIENCE: u32 = 8;

/// How a protocol reads replies, and what it tells a user to do.
pub trait Protocol: std::fmt::Debug {
    /// What of a request a server's complaint may be about.
    type Part;

    /// What to check where access is refused.
    const ACCESS: &str;
    /// The settings of certificates.
    const TRUST: &str;
    /// What ought to answer.
    const SERVER: &str;

    /// What a reply means for the request.
    fn verdict(reply: &Reply) -> Verdict<Self::Part>;

    /// What a reply says.
    fn words(reply: &Reply) -> String;
}

/// What a reply means for the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<Part> {
    /// Stored.
    Accepted,
    /// Overloaded or restarting: the same again soon.
    Busy,
    /// The server's own fault, unless this request alone provokes it.
    Failed,
    /// Something in the request is refused for good; the server may say what.
    Refused(Option<Part>),
    /// Too many bytes.
    TooLarge,
    /// What the request is about does not exist or is deleted.
    Gone,
    /// We may not.
    Forbidden,
    /// The answer leads elsewhere, and is not followed.
    Redirected,
    /// Something else than the server has answered.
    Stranger,
}

/// What came of a request after all its attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<Part> {
    /// Stored; the reply's body.
    Accepted(Vec<u8>),
    /// Something in it is refused for good.
    Refused {
        /// What, if the server says.
        part: Option<Part>,
        /// The server's complaint.
        complaint: Complaint,
    },
    /// The server failed at every attempt, perhaps because of what was sent.
    Failed {
        /// The server's complaint.
        complaint: Complaint,
        /// How long to wait if it is not.
        pause: Duration,
    },
    /// Too many bytes for the server, or for a proxy in front of it.
    TooLarge(Complaint),
    /// Nothing came of it, and it is not the request's fault.
    Halted(Halt),
}

/// Why nothing more can be sent just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// Again after a pause.
    Later {
        /// How long to wait.
        pause: Duration,
        /// What went wrong.
        why: String,
        /// Whether the server did not answer in time.
        is_timeout: bool,
    },
    /// The run or experiment does not exist, in the server's words.
    Gone(String),
}

impl Halt {
    /// Again after a pause.
    #[must_use]
    pub fn later(pause: Duration, why: String) -> Self {
        Self::Later { pause, why, is_timeout: false }
    }
}

/// A refusal in the server's words, without secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complaint {
    /// The status.
    pub status: u16,
    /// The words.
    pub words: String,
}

/// What sends requests to one server.
#[derive(Debug)]
pub struct Link<P> {
    exchange: Arc<dyn Exchange>,
    base: String,
    timeout: Duration,
    clock: Clock,
    /// Requests in a row of which nothing came.
    failures: u32,
    /// Requests in a row that were not answered in time and could not be made smaller.
    patience: u32,
    random: u64,
    protocol: PhantomData<P>,
}

impl<P: Protocol> Link<P> {
    /// A link that has not connected yet.
    ///
    /// # Errors
    /// If a certificate, or what tells the server who we are, cannot be used.
    pub fn new(server: &Server, timeout: Duration, clock: Clock) -> Result<Self> {
        let client = Client::new(server, timeout)?;
        Ok(Self::over(Arc::new(client), server.endpoint.base.clone(), timeout, clock))
    }

    /// A link over something else than a connection. `base` is how words call it.
    #[must_use]
    pub fn over(exchange: Arc<dyn Exchange>, base: String, timeout: Duration, clock: Clock) -> Self {
        Self {
            exchange,
            base,
            timeout,
            clock,
            failures: 0,
            patience: 0,
            random: RandomState::new().hash_one(0),
            protocol: PhantomData,
        }
    }

    /// Posts `body`, again after a short pause where that may help: at most three times, but once while the server is down.
    pub fn post(&mut self, url: &str, body: &[u8], most_bytes: usize, wait: &Wait) -> Outcome<P::Part> {
        self.post_up_to(EXPORT_QUICK_ATTEMPTS, url, body, most_bytes, wait)
    }

    /// Posts `body` at most `attempts` times.
    pub fn post_up_to(
        &mut self,
        attempts: u32,
        url: &str,
        body: &[u8],
        most_bytes: usize,
        wait: &Wait,
    ) -> Outcome<P::Part> {
        self.exchange(attempts, self.timeout, wait, |exchange, timeout| exchange.post(url, body, most_bytes, timeout))
    }

    /// As [`post`](Self::post), for a body of any kind.
    pub fn post_content(
        &mut self,
        url: &str,
        content: &Content,
        body: &[u8],
        most_bytes: usize,
        wait: &Wait,
    ) -> Outcome<P::Part> {
        self.exchange(EXPORT_QUICK_ATTEMPTS, self.timeout, wait, |exchange, timeout| {
            exchange.post_content(url, content, body, most_bytes, timeout)
        })
    }

    /// A server's words without secrets.
    #[must_use]
    pub fn clean(&self, words: &str) -> String {
        self.exchange.redactor().clean(words, EXPORT_WORDS)
    }

    /// Asks for the description of a run. One that is longer than `most_bytes` is taken as empty.
    pub fn get(&mut self, url: &str, most_bytes: usize, wait: &Wait) -> Outcome<P::Part> {
        self.patiently(EXPORT_QUICK_ATTEMPTS, wait, |exchange, timeout| {
            let reply = exchange.get(url, most_bytes, timeout)?;
            let is_too_long = reply.is_cut && reply.status == 200;
            Ok(if is_too_long { Reply { body: b"{}".to_vec(), is_cut: false, ..reply } } else { reply })
        })
    }

    /// Posts what cannot be made smaller where the server is slow: each time that it does not answer in time, the next attempt
    /// may take twice as long. At most `attempts`, fewer while the server is down.
    pub fn post_patiently(
        &mut self,
        attempts: u32,
        url: &str,
        body: &[u8],
        most_bytes: usize,
        wait: &Wait,
    ) -> Outcome<P::Part> {
        self.patiently(attempts, wait, |exchange, timeout| exchange.post(url, body, most_bytes, timeout))
    }

    fn patiently(
        &mut self,
        attempts: u32,
        wait: &Wait,
        send: impl Fn(&dyn Exchange, Duration) -> std::result::Result<Reply, Failure>,
    ) -> Outcome<P::Part> {
        let timeout = self.timeout.saturating_mul(1 << self.patience.min(MOST_PATIENCE)).min(EXPORT_LONGEST_TIMEOUT);
        let outcome = self.exchange(attempts, timeout.max(self.timeout), wait, send);
        self.patience = match outcome {
            Outcome::Halted(Halt::Later { is_timeout: true, .. }) => self.patience.saturating_add(1),
            _ => 0,
        };
        outcome
    }

    fn exchange(
        &mut self,
        attempts: u32,
        timeout: Duration,
        wait: &Wait,
        send: impl Fn(&dyn Exchange, Duration) -> std::result::Result<Reply, Failure>,
    ) -> Outcome<P::Part> {
        let attempts = if self.failures > 0 { 1 } else { attempts.max(1) };
        let mut attempt = 0;
        loop {
            attempt += 1;
            if wait.is_over() {
                return Outcome::Halted(Halt::later(Duration::ZERO, "the time to close was up".to_owned()));
            }
            let most = wait.at_most(timeout);
            let outside = wait.go_outside();
            let reply = send(&*self.exchange, most);
            drop(outside);
            let again = match reply {
                Ok(reply) => self.judge(reply),
                Err(failure) => self.no_reply(failure, timeout),
            };
            let again = match again {
                Judgement::Final(outcome) => return outcome,
                Judgement::Again(again) => again,
            };
            let random = self.random();
            // A server that says when is not asked before.
            if attempt >= attempts || again.after.is_some() || !wait.pause(retry::quick_pause(attempt, random)) {
                return self.given_up(again);
            }
        }
    }

    fn judge(&mut self, reply: Reply) -> Judgement<P::Part> {
        let verdict = P::verdict(&reply);
        if matches!(verdict, Verdict::Accepted) {
            self.failures = 0;
            return Judgement::Final(Outcome::Accepted(reply.body));
        }
        let words = self.exchange.redactor().clean(&P::words(&reply), EXPORT_WORDS);
        let status = reply.status;
        let said = if words.is_empty() { format!("status {status}") } else { format!("status {status}: {words}") };
        let base = &self.base;
        let complaint = Complaint { status, words };
        match verdict {
            Verdict::Busy | Verdict::Failed => {
                let now = SystemTime::UNIX_EPOCH + Duration::from_micros(self.clock.now_micros().max(0) as u64);
                let after = reply.retry_after.as_deref().and_then(|value| retry::retry_after(value, now));
                let failed = matches!(verdict, Verdict::Failed).then_some(complaint);
                Judgement::Again(Again { after, why: format!("{base} answered with {said}"), failed, is_timeout: false })
            }
            Verdict::Refused(part) => self.answered(Outcome::Refused { part, complaint }),
            Verdict::TooLarge => self.answered(Outcome::TooLarge(complaint)),
            Verdict::Gone => self.answered(Outcome::Halted(Halt::Gone(complaint.words.trim_end_matches('.').to_owned()))),
            Verdict::Forbidden => {
                self.slow(format!("{base} refused access with {said}; {}", P::ACCESS))
            }
            Verdict::Redirected => self.slow(format!(
                "{base} answered with a redirect (status {status}), which is not followed; set the address to its target"
            )),
            Verdict::Stranger | Verdict::Accepted => self.slow(format!(
                "{base} does not look like {} ({said}); check the address and any proxy in front of it",
                P::SERVER
            )),
        }
    }

    fn no_reply(&mut self, failure: Failure, timeout: Duration) -> Judgement<P::Part> {
        let base = &self.base;
        match failure {
            Failure::Timeout => Judgement::Again(Again {
                why: format!("{base} did not answer within {} s", timeout.as_secs_f64()),
                is_timeout: true,
                ..Again::default()
            }),
            Failure::Transport(words) => {
                Judgement::Again(Again { why: format!("{base} is unreachable: {words}"), ..Again::default() })
            }
            Failure::Trust(words) => self.slow(format!(
                "no trusted connection to {base}: {words}; check the address and its certificate, {}",
                P::TRUST
            )),
        }
    }

    /// The server works, whatever it thinks of the request.
    fn answered(&mut self, outcome: Outcome<P::Part>) -> Judgement<P::Part> {
        self.failures = 0;
        Judgement::Final(outcome)
    }

    /// Only a person can help, so there is no hurry.
    fn slow(&mut self, why: String) -> Judgement<P::Part> {
        self.failures = self.failures.saturating_add(1);
        let random = self.random();
        Judgement::Final(Outcome::Halted(Halt::later(retry::slow(random), why)))
    }

    fn given_up(&mut self, again: Again) -> Outcome<P::Part> {
        self.failures = self.failures.saturating_add(1);
        let random = self.random();
        let pause = retry::backoff(self.failures, random).max(again.after.unwrap_or_default());
        match again.failed {
            Some(complaint) => Outcome::Failed { complaint, pause },
            None => Outcome::Halted(Halt::Later { pause, why: again.why, is_timeout: again.is_timeout }),
        }
    }

    /// The next of a row of numbers that is good enough to spread clients (splitmix64).
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

enum Judgement<Part> {
    Final(Outcome<Part>),
    Again(Again),
}

#[derive(Default)]
struct Again {
    after: Option<Duration>,
    why: String,
    failed: Option<Complaint>,
    is_timeout: bool,
}
