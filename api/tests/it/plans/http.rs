//! Retry plans over HTTP: statuses, codes, pointers, digests.

use std::net::SocketAddr;

use serde_json::{Value, json};
use telecine_testkit::servers::PostgresSchema;

use crate::cli::held::held_on;
use crate::http::client::{Answer, Request};
use crate::http::process::Server;
use crate::product::{self, Workplace};

/// A server on which nobody works, and a job that is held with a plan that can be executed.
struct Site {
    place: Workplace,
    server: Server,
    job: String,
}

impl Site {
    fn new() -> Self {
        Self::on(None)
    }

    fn on(database: Option<&str>) -> Self {
        let (place, job) = held_on(database);
        let mut command = Server::command(&place, "server");
        command.envs(database.map(|url| ("TELECINE_DATABASE_URL", url)));
        let server = Server::start(command);
        let job = job["id"].as_str().expect("an id").to_owned();
        Self { place, server, job }
    }

    fn address(&self) -> SocketAddr {
        self.server.address
    }

    fn of_job(&self, rest: &str) -> String {
        format!("/api/jobs/{}{rest}", self.job)
    }

    fn current(&self) -> Answer {
        Request::get(&self.of_job("/retry-plan")).send(self.address())
    }

    /// Makes a plan with edits.
    fn plan(&self, edits: &Value) -> Answer {
        Request::post(&self.of_job("/retry-plans"), edits).send(self.address())
    }

    fn execute(&self, plan: &Value, digest: &str) -> Answer {
        self.execution(plan)
            .header("if-match", digest)
            .send(self.address())
    }

    fn execution(&self, plan: &Value) -> Request {
        let plan = plan["id"].as_str().expect("an id");
        Request::new(
            "POST",
            &self.of_job(&format!("/retry-plans/{plan}/execute")),
        )
    }
}

fn pointers(problem: &Value) -> Vec<(&str, &str)> {
    let errors = problem["errors"].as_array().expect("errors").iter();
    errors
        .map(|error| {
            let of = |name: &str| error[name].as_str().unwrap_or_default();
            (of("pointer"), of("code"))
        })
        .collect()
}

#[test]
fn of_two_operators_one_executes_the_plan() {
    of_two_operators_one_executes(&Site::new());
}

#[test]
fn plans_are_made_and_executed_alike_on_postgres() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let database = runtime.block_on(PostgresSchema::create());
    let site = Site::on(Some(database.url()));
    a_plan_is_executed_as_it_was_seen(&site);
    let site = Site::on(Some(database.url()));
    let page = Request::post("/api/retry-plans", &json!({"filter": {"status": "held"}}));
    let page = page.send(site.address()).json();
    assert_eq!(page["items"][0]["job"], site.job, "{page:#}");
    of_two_operators_one_executes(&site);
}

fn of_two_operators_one_executes(site: &Site) {
    let plan = site.current();
    let tag = plan.headers["etag"].clone();
    let plan = plan.json();
    assert_eq!(
        tag,
        format!("\"{}\"", plan["digest"].as_str().expect("a digest"))
    );
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let operators: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| site.execute(&plan, &tag)))
            .collect();
        let answers = operators.into_iter();
        answers
            .map(|operator| operator.join().expect("an answer"))
            .collect()
    });
    let (done, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|it| it.status == 202);
    assert_eq!((done.len(), refused.len()), (1, 1), "{answers:#?}");
    assert_eq!(done[0].json()["round"], 2);
    refused[0].assert_problem(409, "plan_already_executed");
    let path = format!("/retry-plans/{}", plan["id"].as_str().expect("an id"));
    let shown = Request::get(&site.of_job(&path))
        .send(site.address())
        .json();
    assert_eq!(
        (&shown["state"], &shown["digest"]),
        (&json!("executed"), &plan["digest"])
    );
    site.current().assert_problem(404, "no_plan");
    // The job is at work now.
    site.plan(&json!({})).assert_problem(409, "job_not_stopped");
}

#[test]
fn a_plan_is_executed_as_it_was_seen_or_not_at_all() {
    a_plan_is_executed_as_it_was_seen(&Site::new());
}

fn a_plan_is_executed_as_it_was_seen(site: &Site) {
    let seen = site.current().json();
    let digest = seen["digest"].as_str().expect("a digest").to_owned();
    let nameless = site.execution(&seen).send(site.address());
    nameless.assert_problem(428, "if_match_missing");
    let any = site.execute(&seen, "*");
    any.assert_problem(428, "if_match_missing");

    let edited = site.plan(&json!({"skip": [{"step": "after", "why": "nobody needs it"}]}));
    assert_eq!(edited.status, 201, "{}", edited.text());
    let tag = edited.headers["etag"].clone();
    let location = edited.headers["location"].clone();
    let edited = edited.json();
    assert_eq!(Request::get(&location).send(site.address()).json(), edited);
    assert_ne!(edited["digest"], seen["digest"]);
    assert_eq!(edited["edits"][0]["why"], "nobody needs it");
    assert_eq!(site.current().json()["id"], edited["id"]);

    let superseded = site.execute(&seen, &format!("\"{digest}\""));
    let problem = superseded.assert_problem(412, "plan_superseded");
    assert_eq!(problem["plan"]["digest"], edited["digest"]);
    let (said, later) = (problem["detail"].as_str(), edited["id"].as_str());
    assert!(said.expect("a sentence").contains(later.expect("an id")));
    let stale = site.execute(&edited, &format!("\"{digest}\""));
    let problem = stale.assert_problem(412, "plan_changed");
    assert_eq!(problem["plan"]["digest"], edited["digest"]);
    assert_eq!(stale.headers["etag"], tag);
    let done = site.execute(&edited, &tag);
    assert_eq!(done.status, 202, "{}", done.text());
}

#[test]
fn edits_that_cannot_work_are_told_with_their_places() {
    let site = Site::new();
    let before = site.current().json();
    let cases = [
        (
            json!({"force": ["prob"]}),
            vec![("/force/0", "unknown_step")],
        ),
        (
            json!({"skip": [{"step": "probe", "why": " "}, {"step": "after[7]", "why": "x"}]}),
            vec![
                ("/skip/0/why", "why_missing"),
                ("/skip/1/step", "unknown_step"),
            ],
        ),
        (
            json!({"set": {"probe": {"/nothing/here": 1}}}),
            vec![("/set/probe/~1nothing~1here", "unknown_path")],
        ),
        (
            json!({"unset": {"probe": ["/source"]}}),
            vec![("/unset/probe/0", "not_set")],
        ),
        (
            json!({"supply": {"probe": 7}}),
            vec![("/supply/probe", "bad_output")],
        ),
        (
            json!({"skip": [{"step": "probe", "why": "nobody needs it"}]}),
            vec![("/skip/0", "output_impossible")],
        ),
        (json!({"queue": "slow"}), vec![("/queue", "unknown_queue")]),
        (
            json!({"definition": "video:none@7"}),
            vec![("/definition", "unknown_definition")],
        ),
        (
            json!({"definition": "video:cover"}),
            vec![("/definition", "other_workflow")],
        ),
    ];
    for (edits, expected) in cases {
        let problem = site.plan(&edits).assert_problem(400, "invalid_edit");
        assert_eq!(pointers(&problem), expected, "{edits}: {problem:#}");
    }
    let shapes = [
        (json!({"forse": []}), "/forse"),
        (json!({"force": "probe"}), "/force"),
        (json!({"skip": [{"step": "probe"}]}), "/skip/0/why"),
        (json!({"unset": {"probe": "/source"}}), "/unset/probe"),
        (json!({"budget": {"attempts": 0}}), "/budget/attempts"),
        (json!([]), ""),
    ];
    for (edits, pointer) in shapes {
        let problem = site.plan(&edits).assert_problem(400, "invalid_request");
        assert_eq!(
            problem["errors"][0]["pointer"], pointer,
            "{edits}: {problem:#}"
        );
    }
    assert_eq!(site.current().json(), before, "nothing of it was kept");
}

#[test]
fn plans_that_are_not_there_are_not_found() {
    let site = Site::new();
    let plan = site.current().json();
    let plan = plan["id"].as_str().expect("an id");
    let none = "plan_00000000000000000000000000";
    let get = |path: &str| Request::get(path).send(site.address());
    get(&site.of_job(&format!("/retry-plans/{none}"))).assert_problem(404, "no_plan");
    get(&site.of_job("/retry-plans/plan_%00")).assert_problem(404, "no_plan");
    let other = format!("/api/jobs/job_none/retry-plans/{plan}");
    get(&other).assert_problem(404, "no_job");
    get(&format!("{other}/steps")).assert_problem(404, "no_job");
    let execute = Request::new("POST", &format!("{other}/execute")).header("if-match", "\"x\"");
    execute.send(site.address()).assert_problem(404, "no_job");
    // Of a job that is there, and is another one.
    std::fs::copy(
        product::demo_clip(),
        site.place.path().join("sources/film.mp4"),
    )
    .expect("a copy");
    let request = json!({"type": "video:cover", "source": "film.mp4"});
    let second = Request::post("/api/jobs", &request).send(site.address());
    assert_eq!(second.status, 202, "{}", second.text());
    let other = format!("{}/retry-plans/{plan}", second.headers["location"]);
    get(&other).assert_problem(404, "no_plan");
    get(&format!("{other}/steps")).assert_problem(404, "no_plan");
    let execute = Request::new("POST", &format!("{other}/execute")).header("if-match", "\"x\"");
    execute.send(site.address()).assert_problem(404, "no_plan");
    let post = |path: &str| Request::post(path, &json!({})).send(site.address());
    post("/api/jobs/job_none/retry-plans").assert_problem(404, "no_job");
    let wrong = Request::post(&site.of_job("/retry-plans?verify=none"), &json!({}));
    wrong
        .send(site.address())
        .assert_problem(400, "invalid_parameter");
}

#[test]
fn the_steps_of_a_plan_come_in_pages() {
    let site = Site::new();
    let plan = site.current().json();
    let steps = format!("/retry-plans/{}/steps", plan["id"].as_str().expect("an id"));
    let get =
        |rest: &str| Request::get(&site.of_job(&format!("{steps}{rest}"))).send(site.address());
    let first = get("?limit=1").json();
    assert_eq!(
        (&first["items"][0], &first["total"]),
        (&plan["steps"][0], &json!(2))
    );
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    let second = get(&format!("?limit=1&cursor={cursor}")).json();
    assert_eq!(
        (&second["items"][0], &second["next_cursor"]),
        (&plan["steps"][1], &Value::Null)
    );
    get("?limit=1001").assert_problem(400, "invalid_parameter");
    get("?cursor=61").assert_problem(400, "invalid_parameter");
}

/// `telecine plan ..` at the server, from a place that has no jobs of its own.
fn ask(site: &Site, arguments: &[&str]) -> Value {
    let mut command = site
        .place
        .telecine(&[&["plan"], arguments, &["-o", "json"]].concat());
    let elsewhere = Workplace::new();
    command
        .arg("--server")
        .arg(format!("http://{}", site.address()))
        .current_dir(elsewhere.path());
    product::succeed(command)
}

#[test]
fn the_commands_about_plans_do_the_same_at_a_server() {
    let site = Site::new();
    let shown = ask(&site, &["show", "@last"]);
    assert_eq!(shown, site.current().json());
    let skip = ["new", &site.job, "--skip", "after=nobody needs it"];
    let edited = ask(&site, &skip);
    assert_eq!(edited["edits"][0]["op"], "skip");
    let full = ask(&site, &["show", "@last", "--verify", "full"]);
    assert_eq!(
        (&full["verified"]["how"], &full["digest"]),
        (&json!("full"), &edited["digest"])
    );
    let explained = ask(&site, &["explain", "@last", "probe"]);
    assert_eq!(explained[0]["reason"], "held", "{explained:#}");
    assert!(explained[0].get("key").is_some(), "{explained:#}");
    let all = ["--all", "--status", "held"];
    let planned = ask(&site, &[&["new"], &all[..]].concat());
    assert_eq!(planned["rollup"]["jobs"], 1, "{planned:#}");
    // Nobody works here: the job is left at work.
    let job = ask(&site, &["execute", "@last"]);
    assert_eq!(
        (&job["status"], &job["round"]),
        (&json!("running"), &json!(2))
    );
}
