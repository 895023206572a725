//! `cgn pool`.

use std::process::ExitCode;

use super::check::counted;
use super::client::Client;
use super::show::{ShowError, print, socket_path};
use super::{Address, Pool};
use crate::api::rows::{AddressAnswer, AddressRequest};
use crate::withheld::Standing;

/// Takes an external address out of use, or into use again. Exit code 1 if it cannot.
#[must_use]
pub fn pool(arguments: &Pool) -> ExitCode {
    let (address, standing) = match arguments {
        Pool::Quarantine(address) => (address, Some(Standing::Quarantined)),
        Pool::Drain(address) => (address, Some(Standing::Drained)),
        Pool::Restore(address) => (address, None),
    };
    print(ask(address, standing))
}

async fn ask(which: &Address, standing: Option<Standing>) -> Result<String, ShowError> {
    let mut client = Client::connect(&socket_path(&which.daemon)?).await?;
    let request = AddressRequest {
        address: which.address,
        standing,
    };
    let answer: AddressAnswer = client.post("/v1/addresses", &request).await?;
    Ok(told(&request, &answer))
}

pub(super) fn told(request: &AddressRequest, answer: &AddressAnswer) -> String {
    let (address, pool) = (request.address, &answer.pool);
    let count = usize::try_from(answer.subscribers).unwrap_or(usize::MAX);
    let who = counted(count, "subscriber");
    match request.standing {
        Some(Standing::Quarantined) => {
            format!("{address} of pool {pool} goes to no new subscriber. It stays with {who}.\n")
        }
        Some(Standing::Drained) => format!(
            "{address} of pool {pool} goes to nobody. Nothing new is opened for {who} until their mappings ended; \
             then they get another address.\n"
        ),
        None => format!("{address} of pool {pool} is in use again.\n"),
    }
}
