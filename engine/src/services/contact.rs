//! Learns since when a process without a worker has been able to reach the database, as one with a worker does: a
//! database that answers, and takes no renewals, is out of reach.

use super::ServiceParts;
use crate::clock;
use crate::worker::{BEAT, LEASE};

pub(super) async fn run(parts: ServiceParts) {
    loop {
        // Nobody has that session: nothing is renewed. An answer that does not come in time is none.
        let renewed = parts.store.renew_session(&parts.session, LEASE);
        match clock::timeout(BEAT, renewed).await {
            Ok(Ok(_)) => parts.contact.made(),
            Ok(Err(_)) | Err(_) => parts.contact.broken(),
        }
        clock::sleep(BEAT).await;
    }
}
