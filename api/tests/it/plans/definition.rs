//! A job goes on with a corrected definition.

use serde_json::json;

use super::{attempts, does};
use crate::cli::held::held;
use crate::product;

#[test]
fn a_job_goes_on_with_the_definition_in_a_corrected_file() {
    let (place, job) = held();
    let file = place.path().join("hold.yaml");
    let text = std::fs::read_to_string(&file).expect("the definition of the job");
    let (before, _) = text.split_once("  after:\n").expect("the step `after`");
    let before = before.replace("version: 1", "version: 2");
    let output = "output: {sha256: '${{ steps.probe.output.sha256 }}'}\n";
    let corrected = place.path().join("corrected.yaml");
    std::fs::write(&corrected, format!("{before}{output}")).expect("a file");
    let plan =
        |arguments: &[&str]| place.telecine(&[&["plan"], arguments, &["-o", "json"]].concat());

    let same = product::output(plan(&["new", "@last", "--definition", "hold.yaml"]));
    assert_eq!(same.status.code(), Some(2), "{same:?}");
    let said = String::from_utf8_lossy(&same.stderr);
    assert!(said.contains("/definition"), "{said}");

    let planned = product::succeed(plan(&["new", "@last", "--definition", "corrected.yaml"]));
    assert_eq!(does(&planned), ["rerun probe held"]);
    assert_eq!(
        planned["changes"]["steps"],
        json!([{"step": "after", "change": "removed"}])
    );
    let shown = product::output(place.telecine(&["plan", "show", "@last"]));
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("goes on with test:hold@2"), "{shown}");
    assert!(shown.contains("removed  after"), "{shown}");

    let done = product::succeed(plan(&["execute", "@last"]));
    assert_eq!(
        (&done["id"], &done["status"], &done["round"]),
        (&job["id"], &json!("succeeded"), &json!(2))
    );
    assert_eq!(attempts(&done, "probe"), 2);
    assert_eq!(done["steps"].as_array().map(Vec::len), Some(1), "{done:#}");
}
