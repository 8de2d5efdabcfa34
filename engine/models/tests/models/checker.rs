use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, Expectation, HasDiscoveries};
use telecine_models::{Ends, dead_end};

/// Whether the bounds of `./x verify models` are asked for.
pub(crate) fn is_large() -> bool {
    std::env::var("TELECINE_MODELS").is_ok_and(|bounds| bounds == "large")
}

/// What a model has to be for all that is asked of it here.
pub(crate) trait Checked:
    Ends<
        State: Clone + Debug + Eq + Hash + Send + Sync,
        Action: Clone + Debug + PartialEq + Send + Sync,
    > + Clone
    + Debug
    + Send
    + Sync
    + 'static
{
}

impl<M> Checked for M where
    M: Ends<
            State: Clone + Debug + Eq + Hash + Send + Sync,
            Action: Clone + Debug + PartialEq + Send + Sync,
        > + Clone
        + Debug
        + Send
        + Sync
        + 'static
{
}

/// Everything is as it should be in every state, what makes the model worth checking does happen, and an
/// end stays in reach.
pub(crate) fn holds(model: impl Checked) {
    ends(model.clone());
    let name = format!("{model:?}");
    let checked = check(model, HasDiscoveries::AnyFailures);
    eprintln!("{} states: {name}", checked.unique_state_count());
    checked.assert_properties();
}

/// An end stays in reach, whatever happens.
pub(crate) fn ends(model: impl Checked) {
    if let Some(way) = dead_end(&model) {
        panic!("nothing leads out of {way:?} in {model:?}");
    }
}

/// There is a history in which the property does not hold.
pub(crate) fn breaks(model: impl Checked, property: &'static str) {
    let known = model.properties();
    assert!(
        known
            .iter()
            .any(|it| it.name == property && it.expectation == Expectation::Always),
        "{property} is no property"
    );
    let name = format!("{model:?}");
    let enough = HasDiscoveries::AnyOf([property].into());
    let history = check(model, enough).discovery(property);
    let history = history.unwrap_or_else(|| panic!("{property}, even of {name}"));
    eprintln!("{name}: {:?}", history.into_actions());
}

/// There is a history from which nothing leads to an end.
pub(crate) fn fails_to_end(model: impl Checked) {
    let way = dead_end(&model).unwrap_or_else(|| panic!("an end stays in reach of {model:?}"));
    eprintln!("{model:?}: {way:?}");
}

/// Goes through all states until it has seen enough, nearest first: histories are short.
fn check<M: Checked>(model: M, enough: HasDiscoveries) -> impl Checker<M> {
    model.checker().finish_when(enough).spawn_bfs().join()
}
