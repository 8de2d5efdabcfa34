//! Learns since when a process without a worker has been able to reach the database; one with a worker learns it
//! of its beats.

use super::ServiceParts;
use crate::clock;
use crate::worker::BEAT;

pub(super) async fn run(parts: ServiceParts) {
    loop {
        match parts.store.next_due_in().await {
            Ok(_) => parts.contact.made(),
            Err(_) => parts.contact.broken(),
        }
        clock::sleep(BEAT).await;
    }
}
