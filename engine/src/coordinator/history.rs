//! How long the steps of a workflow took before.

use crate::activity::ErrorClass;
use crate::limits;
use crate::retry::history::History;
use crate::run::{Run, Snapshot};
use crate::store::{RunFilter, Store, StoreError, Window};

/// What the last runs of the same workflow that stopped say, and the run itself. Of each no more is read
/// than its head, however many steps it has.
pub(super) async fn history(store: &dyn Store, snapshot: &Snapshot) -> Result<History, StoreError> {
    let filter = RunFilter {
        workflow: Some(snapshot.run.workflow.clone()),
        limit: 2 * limits::RUNS_PER_ESTIMATE,
        ..RunFilter::default()
    };
    let page = store.list_runs(&filter).await?;
    let others = page
        .runs
        .iter()
        .filter(|run| is_finished(run) && run.id != snapshot.run.id);
    let mut outlines = Vec::new();
    for run in others.take(limits::RUNS_PER_ESTIMATE) {
        match store.outline(&run.id, &Window::Head).await {
            Ok(outline) => outlines.push(outline.snapshot),
            // It was removed meanwhile.
            Err(StoreError::NoRun(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(History::of(&outlines, snapshot))
}

/// Whether it stopped, and not because somebody wanted it to.
fn is_finished(run: &Run) -> bool {
    let cancelled = run
        .error
        .as_ref()
        .is_some_and(|error| error.class == ErrorClass::Cancelled);
    run.status.is_stopped() && !cancelled
}
