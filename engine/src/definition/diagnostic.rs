//! What is wrong with a definition, where, and how it is shown.

/// "did you mean `x`?", if one of the known names is close to what was written.
pub(super) fn nearest_help<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(name, known).map(|known| format!("did you mean `{known}`?"))
}

/// The known name that takes the fewest typing errors to become `name`: at most one in three
/// letters, so that nonsense gets no advice.
fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (name.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, known)| known)
}
