//! What a request changes: which names are put on record, and which end. Pure.

use std::collections::HashMap;

use super::meaning::{Request, Status};
use crate::maplog::Event;
use crate::maplog::identity::{self, Book, Login, Named, Who};

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is on record, and answered.
    Recorded,
    /// What it says is on record already; answered. Duplicates, and most interim updates.
    Known,
    /// Answered; it says nothing of a subscriber of ours, or no name of his.
    Ignored,
    /// The log could not be written: not answered, so that it is sent again.
    Unrecorded,
    /// Nobody whom the configuration names sent it; not answered.
    Stranger,
    /// Its sender does not know the secret; not answered.
    Forged,
    /// It is no Accounting-Request; not answered.
    Malformed,
}

impl Outcome {
    /// Every outcome with its name in metrics.
    pub const NAMES: [(Self, &'static str); 7] = [
        (Self::Recorded, "recorded"),
        (Self::Known, "known"),
        (Self::Ignored, "ignored"),
        (Self::Unrecorded, "unrecorded"),
        (Self::Stranger, "stranger"),
        (Self::Forged, "forged"),
        (Self::Malformed, "malformed"),
    ];

    #[must_use]
    pub const fn is_answered(self) -> bool {
        matches!(self, Self::Recorded | Self::Known | Self::Ignored)
    }
}

/// So long after the end of a session a copy of its start can come, in milliseconds.
const LATE_MS: u64 = 60_000;

/// The end of a session: digests of access server and session, and when it was told.
#[derive(Debug, Clone, Copy)]
struct Ended {
    stay: (u32, u32),
    unix_ms: u64,
}

/// What is known, and what is to be recorded of the requests at hand.
#[derive(Debug, Default)]
pub struct Desk {
    names: Book,
    /// The session that ended last at an address: a copy of its start that comes late is no new one.
    ended: HashMap<Who, Ended>,
    /// Records that are not written yet, and what was known before each change.
    events: Vec<Event>,
    before: Vec<(Who, Option<Named>)>,
}

impl Desk {
    /// With names that are on record.
    #[must_use]
    pub fn new(names: Book) -> Self {
        Self {
            names,
            ..Self::default()
        }
    }

    /// How many names are known.
    #[must_use]
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// Takes a request into account that came at `now_ms`, in milliseconds of Unix time, about an address in the
    /// realm with this number in the log; `is_ours` tells whether that is a subscriber. What is to be written
    /// is in [`Self::events`].
    pub fn hear(
        &mut self,
        request: &Request,
        realm: u16,
        is_ours: impl Fn(Who) -> bool,
        now_ms: u64,
    ) -> Outcome {
        let inside = request.inside.map(|inside| (realm, inside));
        let inside = inside.filter(|who| is_ours(*who));
        match (request.status, inside) {
            (Status::Restart, _) => self.end_all(request, realm),
            (Status::Start | Status::Interim, Some(who)) => self.begin(request, who, now_ms),
            (Status::Stop, Some(who)) => self.end(request, who, now_ms),
            _ => Outcome::Ignored,
        }
    }

    fn begin(&mut self, request: &Request, who: Who, now_ms: u64) -> Outcome {
        let Some((attribute, name)) = &request.name else {
            return Outcome::Ignored;
        };
        let login = login(request, who);
        let named = Named {
            login,
            attribute: *attribute,
            name: identity::shown(name),
            since_ms: login.happened_ms(now_ms),
        };
        let stay = (request.nas, request.session);
        let is_known = self.names.of(who).is_some_and(|known| {
            let is_same = (known.login.nas, known.login.session) == stay;
            let is_named_so = known.name == named.name && known.attribute == named.attribute;
            is_same && is_named_so || !is_same && known.since_ms > named.since_ms
        });
        let is_over = self.ended.get(&who).is_some_and(|ended| {
            ended.stay == stay && named.since_ms < ended.unix_ms.saturating_add(LATE_MS)
        });
        if is_known || is_over {
            return Outcome::Known;
        }
        self.events.extend(identity::login(login, *attribute, name));
        self.set(who, Some(named));
        Outcome::Recorded
    }

    /// The end of a session that has the address no more is none.
    fn end(&mut self, request: &Request, who: Who, unix_ms: u64) -> Outcome {
        let stay = (request.nas, request.session);
        let known = self.names.of(who);
        self.ended.insert(who, Ended { stay, unix_ms });
        if known.is_none_or(|known| (known.login.nas, known.login.session) != stay) {
            return Outcome::Known;
        }
        self.events.push(Event::Logout(login(request, who)));
        self.set(who, None);
        Outcome::Recorded
    }

    /// All sessions of the access server are over.
    fn end_all(&mut self, request: &Request, realm: u16) -> Outcome {
        let logins = self.names.all().map(|named| named.login);
        let over = logins.filter(|login| (login.realm, login.nas) == (realm, request.nas));
        let over: Vec<Login> = over.collect();
        self.ended.retain(|_, ended| ended.stay.0 != request.nas);
        for old in &over {
            let early_secs = request.early_secs;
            self.events
                .push(Event::Logout(Login { early_secs, ..*old }));
            self.set(old.who(), None);
        }
        match over.is_empty() {
            true => Outcome::Known,
            false => Outcome::Recorded,
        }
    }

    fn set(&mut self, who: Who, named: Option<Named>) {
        let before = self.names.set(who, named);
        self.before.push((who, before));
    }

    /// What is to be written of the requests since the last one was settled.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// They are on record, or were never heard.
    pub fn settle(&mut self, is_recorded: bool) {
        self.events.clear();
        let before = std::mem::take(&mut self.before);
        if !is_recorded {
            for (who, named) in before.into_iter().rev() {
                self.names.set(who, named);
                self.ended.remove(&who);
            }
        }
    }
}

fn login(request: &Request, (realm, inside): Who) -> Login {
    Login {
        inside,
        realm,
        early_secs: request.early_secs,
        nas: request.nas,
        session: request.session,
    }
}
