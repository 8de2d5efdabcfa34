use super::CliError;

/// The longest name, in bytes: it becomes that of a crate, an activity and a workflow.
const MAX_NAME_BYTES: usize = 48;

/// What a crate cannot be called: words of the language, and the crates that it uses.
const TAKEN: [&str; 61] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "schemars",
    "self",
    "serde",
    "serde_json",
    "static",
    "std",
    "struct",
    "super",
    "telecine",
    "test",
    "tokio",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
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
    /// `Greet`, or `Step` for an activity that is named: any verb may be a name of the language's.
    structure: &'static str,
}

impl Names {
    /// Names made of `watermark`, or of the name of an activity: `watermark.burn`.
    pub(super) fn new(name: &str) -> Result<Self, CliError> {
        let (area, verb) = name.split_once('.').unwrap_or((name, "greet"));
        let area_name = area.replace('-', "_");
        let is_activity = name.contains('.');
        let bad_crate = !is_activity && area.contains('_');
        if bad_crate || !is_word(&area_name) || !is_word(verb) || name.len() > MAX_NAME_BYTES {
            return Err(CliError::usage(format!(
                "{name:?} cannot be the name of a crate: write lower-case letters, digits and `-`, \
                 as in `face-blur`, or an activity, as in `face.blur`, {MAX_NAME_BYTES} at most"
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
        if TAKEN.contains(&&*package.replace('-', "_")) {
            return Err(CliError::usage(format!(
                "a crate cannot be called {package}; choose another name"
            )));
        }
        Ok(Self {
            package,
            activity: format!("{area_name}.{verb}"),
            workflow,
            structure: if is_activity { "Step" } else { "Greet" },
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
            .replace("Greet", self.structure)
    }
}

/// Lower-case letters, digits and `_`, beginning with a letter: what an activity may be made of.
fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
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
    fn a_verb_that_is_a_name_of_the_language_names_no_type() {
        for name in ["x.string", "x.self", "x.move", "loop.vec"] {
            let names = Names::new(name).unwrap();
            assert_eq!(names.put_into("struct Greet;"), "struct Step;");
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
            "tokio",
            "loop",
            "proc-macro",
            "loud_ness",
            &"a".repeat(49),
        ] {
            assert!(Names::new(name).is_err(), "{name:?}");
        }
    }
}
