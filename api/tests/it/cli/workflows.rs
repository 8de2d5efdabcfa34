use super::LOOK;
use crate::product::Workplace;

/// Wrong: the key of the version, the activity, a reference, a type, and a need.
const FIVE_MISTAKES: &str = "\
workflow: test:broken
versoin: 1
version: 1
input:
  type: object
  required: [source]
  properties: {source: {type: string}}
steps:
  probe:
    activity: media.prob@1
    with: {source: '${{ input.source }}'}
  cover:
    activity: media.probe@1
    needs: [prob]
    with: {source: '${{ input.sorce }}'}
    timeout: {attempt: soon}
";

#[test]
fn five_mistakes_are_all_shown_with_their_places() {
    let place = Workplace::new();
    place.write("broken.yaml", FIVE_MISTAKES);
    let answer = place.call(&["workflow", "validate", "broken.yaml"]);

    assert_eq!(answer.code, Some(2), "{answer:#?}");
    assert_eq!(answer.stdout, "", "{answer:#?}");
    let mistakes = [
        ("broken.yaml:2:1: ", "did you mean `version`?"),
        ("broken.yaml:10:15: ", "did you mean `media.probe@1`?"),
        ("broken.yaml:14:13: ", "did you mean `probe`?"),
        ("broken.yaml:15:", "did you mean `source`?"),
        ("broken.yaml:16:24: ", "not a duration"),
    ];
    for (place, says) in mistakes {
        let at = answer
            .stderr
            .find(place)
            .unwrap_or_else(|| panic!("{place} in {answer:#?}"));
        let shown: Vec<&str> = answer.stderr[at..].lines().take(4).collect();
        assert!(
            shown.iter().any(|line| line.contains(says)),
            "{says} at {place}: {shown:#?}"
        );
        assert!(shown[2].contains('^'), "a caret at {place}: {shown:#?}");
    }

    let answer = place.call(&["workflow", "validate", "broken.yaml", "-o", "json"]);
    let errors = answer.json()[0]["errors"].clone();
    let lines: Vec<_> = errors
        .as_array()
        .unwrap()
        .iter()
        .map(|error| &error["line"])
        .collect();
    for line in [2, 10, 14, 15, 16] {
        assert!(
            lines.iter().any(|found| **found == line),
            "line {line}: {errors:#}"
        );
    }
    let run = place.call(&["run", "broken.yaml"]);
    assert_eq!(run.code, Some(2), "a broken workflow is not run: {run:#?}");
}

#[test]
fn files_are_checked_one_by_one() {
    let place = Workplace::new();
    place.write("look.yaml", LOOK);
    place.write("broken.yaml", "workflow: [");
    let validate = |files: &[&str]| place.call(&[&["workflow", "validate"], files].concat());

    let good = validate(&["look.yaml"]);
    assert_eq!(
        (good.code, good.stdout.as_str()),
        (Some(0), "ok  look.yaml  test:look@1\n")
    );
    let missing = validate(&["look.yaml", "gone.yaml"]);
    assert_eq!(missing.code, Some(3), "{missing:#?}");
    let both = validate(&["gone.yaml", "broken.yaml", "look.yaml"]);
    assert_eq!(both.code, Some(2), "{both:#?}");
    assert!(both.stdout.contains("ok  look.yaml"), "{both:#?}");
}

#[test]
fn what_is_installed_can_be_listed() {
    let place = Workplace::new();
    let workflows = place.call(&["workflow", "list", "-o", "json"]).json();
    assert!(
        workflows
            .as_array()
            .unwrap()
            .iter()
            .any(|workflow| workflow["name"] == "video:full")
    );

    let activities = place.call(&["activity", "list", "-o", "jsonl"]);
    let probe = activities
        .stdout
        .lines()
        .find(|line| line.contains("\"media.probe\""))
        .unwrap();
    let probe: serde_json::Value = serde_json::from_str(probe).unwrap();
    assert_eq!(probe["version"], 1);

    let described = place
        .call(&["activity", "describe", "media.probe@1", "-o", "json"])
        .json();
    assert!(
        described["input_schema"]["properties"]["source"].is_object(),
        "{described:#}"
    );
    for asked in ["describe", "check"] {
        place.call(&["activity", asked, "media.prob"]).assert_error(
            3,
            &[
                "there is no activity media.prob;",
                "did you mean media.probe?",
                "`telecine activity list`",
            ],
        );
    }
}
