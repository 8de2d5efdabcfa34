use super::CliError;

/// The longest name, in bytes: it becomes that of a crate, an activity and a workflow.
const MAX_NAME_BYTES: usize = 48;

/// What a crate cannot be called: words of the language, and the crates that it uses.
const TAKEN: [&str; 20] = [
    "as", "async", "await", "core", "crate", "dyn", "enum", "fn", "impl", "mod", "pub", "ref",
    "schemars", "self", "serde", "std", "telecine", "test", "type", "use",
];

/// What the example calls itself, and what the new crate does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    /// `watermark`
    pub(super) package: String,
    /// `watermark.greet`
    pub(super) activity: String,
    /// `watermark:party`
    pub(super) workflow: String,
    /// `Greet`
    structure: String,
}

impl Names {
    /// Names made of `watermark`, or of the name of an activity: `watermark.burn`.
    pub(super) fn new(name: &str) -> Result<Self, CliError> {
        let (area, verb) = name.split_once('.').unwrap_or((name, "greet"));
        let area_name = area.replace('-', "_");
        if !is_word(&area_name) || !is_word(verb) || name.len() > MAX_NAME_BYTES {
            return Err(CliError::usage(format!(
                "{name:?} cannot be the name of a crate: write lower-case letters, digits and `-`, \
                 as in `face-blur`, or an activity, as in `face.blur`"
            )));
        }
        if TAKEN.contains(&area) {
            return Err(CliError::usage(format!(
                "a crate cannot be called {area}; choose another name"
            )));
        }
        let package = area.replace('_', "-");
        let (package, workflow) = match name.split_once('.') {
            Some(_) => {
                let verb = verb.replace('_', "-");
                (format!("{package}-{verb}"), format!("{package}:{verb}"))
            }
            None => (package.clone(), format!("{package}:party")),
        };
        Ok(Self {
            package,
            activity: format!("{area_name}.{verb}"),
            workflow,
            structure: camel_case(verb),
        })
    }

    /// Text of the example under the new names.
    pub(super) fn put_into(&self, text: &str) -> String {
        text.replace("hello-activity", &self.package)
            .replace("hello_activity", &self.package.replace('-', "_"))
            .replace("hello.greet", &self.activity)
            .replace("hello:party", &self.workflow)
            .replace("hello.yaml", &format!("{}.yaml", self.package))
            .replace("tests/hello.rs", "tests/activity.rs")
            .replace("Greet", &self.structure)
    }
}

/// Lower-case letters, digits and `_`, beginning with a letter: what an activity may be made of.
fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// `burn_in` as `BurnIn`; names that the example uses itself get a tail.
fn camel_case(word: &str) -> String {
    let parts = word.split('_').filter(|part| !part.is_empty());
    let name: String = parts
        .map(|part| part[..1].to_uppercase() + &part[1..])
        .collect();
    match name.as_str() {
        "Activity" | "Context" | "Input" | "Output" | "Progress" | "Artifact" => name + "Step",
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn a_crate_or_an_activity_names_everything() {
        for (given, package, activity, workflow) in [
            ("blur", "blur", "blur.greet", "blur:party"),
            (
                "face-blur",
                "face-blur",
                "face_blur.greet",
                "face-blur:party",
            ),
            (
                "face.blur_in",
                "face-blur-in",
                "face.blur_in",
                "face:blur-in",
            ),
        ] {
            let names = Names::new(given).unwrap();
            let made = [&names.package, &names.activity, &names.workflow].map(String::as_str);
            assert_eq!(made, [package, activity, workflow]);
        }
    }

    #[test]
    fn what_cannot_be_a_crate_is_refused() {
        for name in [
            "",
            "Blur",
            "1st",
            "a b",
            "../x",
            "a.b.c",
            "a.",
            "test",
            &"a".repeat(49),
        ] {
            assert!(Names::new(name).is_err(), "{name:?}");
        }
    }
}
