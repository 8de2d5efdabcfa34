//! The doorbell on a real Redis: the suite of every doorbell, and what happens to it when Redis is
//! flushed, stands still, dies and comes back.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use server::Server;
use telecine_dispatch_apalis::{ApalisDispatcher, PATIENCE};
use telecine_engine::dispatch::{Bell, Dispatcher, Hint, InProcessDispatcher};
use telecine_engine::id::RunId;
use telecine_engine::queue::Queue;
use telecine_testkit::conformance::dispatch::DispatcherFactory;

/// Far beyond what is usual: machines of tests are busy.
const SOON: Duration = Duration::from_secs(30);
/// How often something is tried again.
const AGAIN: Duration = Duration::from_millis(50);

mod conformance {
    telecine_testkit::dispatcher_conformance!(crate::shared());
}

/// The Redis of the tests, and a name that nobody else has.
#[derive(Debug)]
struct Shared {
    url: String,
    name: String,
}

fn shared() -> Shared {
    let url = std::env::var("TELECINE_TEST_REDIS_URL").unwrap_or_else(|_| {
        panic!(
            "TELECINE_TEST_REDIS_URL is not set: run ./x test, which starts a throw-away server, or \
             name one"
        )
    });
    let name = RunId::generate().as_str().replace('_', "-");
    Shared { url, name }
}

#[async_trait]
impl DispatcherFactory for Shared {
    async fn open(&self) -> Arc<dyn Dispatcher> {
        let dispatcher = start(&self.url, &self.name);
        working(&dispatcher).await;
        Arc::new(dispatcher)
    }

    fn reaches_others(&self) -> bool {
        true
    }
}

fn start(url: &str, name: &str) -> ApalisDispatcher {
    let here = Arc::new(InProcessDispatcher::default());
    ApalisDispatcher::start(url, name, here).unwrap()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(AGAIN).await;
        }
    };
    let held = tokio::time::timeout(SOON, waiting).await;
    assert!(held.is_ok(), "{what}");
}

async fn working(dispatcher: &ApalisDispatcher) {
    until("it does not connect", || dispatcher.trouble().is_none()).await;
}

fn hint() -> Hint {
    Hint {
        run: RunId::generate(),
        queue: Queue::VideoLarge,
        steps: 3,
    }
}

/// Rings in one process until it is heard in another.
async fn reaches(here: &ApalisDispatcher, bell: &mut dyn Bell) {
    let ringing = async {
        loop {
            here.ring(&[hint()]);
            if tokio::time::timeout(AGAIN, bell.rung()).await.is_ok() {
                return;
            }
        }
    };
    let reached = tokio::time::timeout(SOON, ringing).await;
    assert!(reached.is_ok(), "nothing is heard: {:?}", here.trouble());
}

/// Forgets what was heard so far: what comes next is new.
async fn forget(bell: &mut dyn Bell) {
    while tokio::time::timeout(AGAIN * 4, bell.rung()).await.is_ok() {}
}

/// Nobody looks by the clock meanwhile: workers do so every second.
#[tokio::test]
async fn a_hint_is_heard_at_once_by_somebody_who_waits() {
    let server = Server::start();
    let (here, there) = (start(server.url(), "jobs"), start(server.url(), "jobs"));
    working(&here).await;
    let mut bell = there.listen();
    reaches(&here, bell.as_mut()).await;
    forget(bell.as_mut()).await;
    let mut times = Vec::new();
    for _ in 0..21 {
        let hint = Hint { steps: 1, ..hint() };
        let rung = Instant::now();
        // One that waits waits before it is rung for.
        let heard = tokio::join!(tokio::time::timeout(SOON, bell.rung()), async {
            here.ring(&[hint]);
        });
        assert!(heard.0.is_ok(), "nothing is heard");
        times.push(rung.elapsed());
        tokio::time::sleep(AGAIN * 2).await;
    }
    times.sort();
    assert!(times[10] < AGAIN * 4, "{times:?}");
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_told_and_harms_nobody() {
    let home = tempfile::tempdir().unwrap();
    let url = format!("redis+unix://{}/nobody", home.path().display());
    let dispatcher = start(&url, "jobs");
    let told = || {
        let trouble = dispatcher.trouble().unwrap_or_default();
        trouble.contains("cannot be used")
    };
    until("nobody says so", told).await;
    let mut bell = dispatcher.listen();
    dispatcher.ring(&[hint()]);
    let heard = tokio::time::timeout(SOON, bell.rung()).await;
    assert!(heard.is_ok(), "workers of the same process hear");
    assert!(dispatcher.patience() <= PATIENCE);
}

/// Services forbid what tells of themselves.
#[tokio::test]
async fn who_may_not_ask_for_the_version_hears_hints_all_the_same() {
    let server = Server::start();
    let may: String = server
        .ask("ACL SETUSER telecine on >secret ~* &* +@all -info")
        .await;
    assert_eq!(may, "OK");
    let url = format!("{}?user=telecine&pass=secret", server.url());
    let (here, there) = (start(&url, "jobs"), start(&url, "jobs"));
    working(&here).await;
    reaches(&here, there.listen().as_mut()).await;
}

#[tokio::test]
async fn an_address_that_is_none_is_refused() {
    let here = Arc::new(InProcessDispatcher::default());
    let error = ApalisDispatcher::start("postgres://x", "jobs", here).unwrap_err();
    assert!(error.to_string().contains("redis://"), "{error}");
}

/// Everything that apalis knew of its workers is gone.
#[tokio::test]
async fn after_a_flush_hints_are_heard_again() {
    let server = Server::start();
    let (here, there) = (start(server.url(), "jobs"), start(server.url(), "jobs"));
    working(&here).await;
    let mut bell = there.listen();
    reaches(&here, bell.as_mut()).await;
    server.say("FLUSHALL").await;
    forget(bell.as_mut()).await;
    reaches(&here, bell.as_mut()).await;
}

#[tokio::test]
async fn a_redis_that_was_killed_is_told_and_used_again_once_it_is_back() {
    let mut server = Server::start();
    let (here, there) = (start(server.url(), "jobs"), start(server.url(), "jobs"));
    working(&here).await;
    let mut bell = there.listen();
    reaches(&here, bell.as_mut()).await;
    server.kill();
    until("nobody notices", || here.trouble().is_some()).await;
    here.ring(&[hint()]);
    server.restart();
    working(&here).await;
    forget(bell.as_mut()).await;
    reaches(&here, bell.as_mut()).await;
}

/// Longer than apalis has patience with by itself (half a second), and than an answer may take.
#[tokio::test]
async fn a_redis_that_stands_still_is_waited_for() {
    let server = Server::start();
    let (here, there) = (start(server.url(), "jobs"), start(server.url(), "jobs"));
    working(&here).await;
    let mut bell = there.listen();
    reaches(&here, bell.as_mut()).await;
    server.stand_still(Duration::from_secs(7)).await;
    forget(bell.as_mut()).await;
    reaches(&here, bell.as_mut()).await;
}

/// Nobody hears them, and Redis must not fill up.
#[tokio::test]
async fn hints_that_nobody_hears_do_not_pile_up() {
    let server = Server::start();
    let here = start(server.url(), "jobs");
    working(&here).await;
    for _ in 0..40 {
        for _ in 0..100 {
            here.ring(&[hint()]);
        }
        tokio::time::sleep(AGAIN).await;
    }
    let due: usize = server
        .ask(&format!("LLEN {}", queue().active_jobs_list()))
        .await;
    let later: usize = server
        .ask(&format!("ZCARD {}", queue().scheduled_jobs_set()))
        .await;
    let waiting = due + later;
    assert!((1..=100).contains(&waiting), "{waiting} hints wait");
}

/// Apalis keeps what was done until it is told to clear it away.
#[tokio::test]
async fn what_was_heard_leaves_nothing_behind() {
    let server = Server::start();
    let (here, there) = (start(server.url(), "jobs"), start(server.url(), "jobs"));
    working(&here).await;
    let mut bell = there.listen();
    for _ in 0..20 {
        reaches(&here, bell.as_mut()).await;
    }
    let (kept, done) = (queue().job_data_hash(), queue().done_jobs_set());
    let emptied = async {
        loop {
            let left: usize = server.ask(&format!("HLEN {kept}")).await;
            let done: usize = server.ask(&format!("SCARD {done}")).await;
            if left + done == 0 {
                return;
            }
            // Acknowledgements go with the next look, and there is none while nobody waits.
            let _ = tokio::time::timeout(AGAIN, bell.rung()).await;
        }
    };
    let emptied = tokio::time::timeout(SOON, emptied).await;
    assert!(emptied.is_ok(), "hints stay in Redis");
    let known: Vec<String> = server.ask("KEYS *:workers:metadata:*").await;
    assert!(!known.is_empty(), "apalis notes its workers");
    let expire = async {
        for key in &known {
            while server.ask::<i64>(&format!("TTL {key}")).await < 0 {
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
    let expire = tokio::time::timeout(SOON, expire).await;
    assert!(expire.is_ok(), "workers are known for ever");
}

/// What apalis calls the queue of the hints here.
fn queue() -> apalis_redis::Config {
    apalis_redis::Config::default().queue("telecine-jobs-video-large")
}
