//! A record as one line.

use std::fmt::{Display, Formatter, Result};

use super::event::{Block, Event, Ranges, Record, ReleaseReason};
use super::identity::Login;
use super::session::Session;
use crate::utc::Utc;

impl Display for ReleaseReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(self.name())
    }
}

impl Display for Block {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Ranges { ports, system } = self.ranges();
        let (first, last) = (ports.first(), ports.last());
        write!(f, "{} -> {}:{first}-{last}", self.inside, self.external)?;
        if let Some(system) = system {
            write!(f, " and {}-{}", system.first(), system.last())?;
        }
        if self.realm != 0 {
            write!(f, " (realm {})", self.realm)?;
        }
        if self.is_scattered() {
            write!(f, " (places of key {})", self.key)?;
        }
        write!(f, " pool {}", self.pool)
    }
}

impl Display for Session {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(
            f,
            "{} {}:{} -> {}:{}",
            self.protocol.name(),
            self.inside,
            self.inside_port,
            self.external,
            self.external_port
        )?;
        if self.realm != 0 {
            write!(f, " (realm {})", self.realm)?;
        }
        match self.remote {
            Some(remote) => write!(f, " to {}:{}", remote.address, remote.port),
            None => Ok(()),
        }
    }
}

impl Display for Login {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}", self.inside)?;
        if self.realm != 0 {
            write!(f, " (realm {})", self.realm)?;
        }
        match self.early_secs {
            0 => Ok(()),
            secs => write!(f, " {secs} s before"),
        }
    }
}

impl Display for Record {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} #{} ", Utc(self.entry.unix_ms), self.sequence)?;
        match &self.entry.event {
            Event::Start => f.write_str("start"),
            Event::Stop => f.write_str("stop"),
            Event::Gap => f.write_str("gap"),
            Event::Resume => f.write_str("resume"),
            Event::Allocate(block) => write!(f, "allocate {block}"),
            Event::Release { block, reason } => write!(f, "release {block} {reason}"),
            Event::Open(session) => write!(f, "open {session}"),
            Event::Close(session) => write!(f, "close {session}"),
            Event::Name(_) => f.write_str("name"),
            Event::Login {
                login, attribute, ..
            } => write!(f, "login {login} by {}", attribute.name()),
            Event::Logout(login) => write!(f, "logout {login}"),
        }
    }
}
