//! Answers that are the same for everybody and cost something to find: found once a second at most,
//! however many ask.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

/// How old an answer may be.
const FRESH: Duration = Duration::from_secs(1);

/// The latest answer to a question.
#[derive(Debug)]
pub(crate) struct Fresh<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for Fresh<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Fresh<T> {
    /// The latest answer if it is not too old, or else a new one. Who asks meanwhile waits for it, and is
    /// given the same.
    pub(crate) async fn get(&self, ask: impl Future<Output = T>) -> T {
        let mut latest = self.0.lock().await;
        let fresh = latest.as_ref().filter(|(at, _)| at.elapsed() < FRESH);
        if let Some((_, answer)) = fresh {
            return answer.clone();
        }
        let answer = ask.await;
        *latest = Some((Instant::now(), answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn however_many_ask_at_once_it_is_looked_up_once() {
        let (fresh, asked) = (Arc::new(Fresh::default()), Arc::new(AtomicUsize::new(0)));
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (fresh, asked) = (fresh.clone(), asked.clone());
            asking.spawn(async move {
                let ask = async {
                    tokio::task::yield_now().await;
                    asked.fetch_add(1, Ordering::SeqCst)
                };
                fresh.get(ask).await
            });
        }
        assert_eq!(asking.join_all().await, [0; 100]);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn an_answer_that_is_too_old_is_looked_up_again() {
        let old = Instant::now().checked_sub(FRESH).unwrap();
        let fresh = Fresh(Mutex::new(Some((old, 1))));
        assert_eq!(fresh.get(async { 2 }).await, 2);
        assert_eq!(fresh.get(async { 3 }).await, 2);
    }
}
