use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::activity::{Activity, ActivityError, Context, Registry};
use crate::limits;
use crate::queue::Queue;

/// Activities as plugins describe them.
struct Catalog;

impl ActivityCatalog for Catalog {
    fn input_schema(&self, name: &str, version: u32) -> Option<Value> {
        let schema = match (name, version) {
            ("media.probe", 1) | ("video.cover", 1) => json!({
                "properties": {"source": {"type": "string"}, "at_s": {"type": ["number", "null"]}},
                "required": ["source"], "additionalProperties": false,
            }),
            ("video.encode", 2) => json!({
                "type": "object", "additionalProperties": false, "required": ["source", "chunk"],
                "properties": {
                    "source": {"type": "string"}, "chunk": true,
                    "encoder": {"$ref": "#/$defs/Encoder"},
                    "ladder": {"type": "array", "items": {"$ref": "#/$defs/Rung"}},
                    "audio": {"anyOf": [{"$ref": "#/$defs/Audio"}, {"type": "null"}]},
                },
                "$defs": {
                    "Encoder": {"type": "string", "enum": ["x264", "vaapi"]},
                    "Rung": {"type": "object", "additionalProperties": false,
                        "properties": {"short_edge": {"type": "integer"}, "crf": {"type": "number"}},
                        "required": ["short_edge"]},
                    "Audio": {"type": "object", "additionalProperties": false,
                        "properties": {"bitrate": {"type": "integer"}, "label": {"type": "string"}}},
                },
            }),
            ("media.any", 1) => json!({"type": "object"}),
            _ => return None,
        };
        Some(schema)
    }

    fn output_schema(&self, name: &str, version: u32) -> Option<Value> {
        (name == "media.probe" && version == 1).then(|| {
            json!({"type": "object", "properties": {
                "duration_s": {"type": "number"},
                "video": {"type": "object", "properties": {"width": {"type": "integer"}}},
                "tags": {"type": "object", "additionalProperties": {"type": "string"},
                         "properties": {"title": {"type": "string"}}},
            }})
        })
    }

    fn names(&self) -> Vec<String> {
        let names = [
            "media.any@1",
            "media.probe@1",
            "video.cover@1",
            "video.encode@2",
        ];
        names.map(str::to_owned).to_vec()
    }
}

const FULL: &str = r#"
workflow: video:full
version: 3
description: cover, preview and adaptive streaming set of one video
input:
  type: object
  required: [source]
  properties:
    source: {type: string, description: object key in the source store}
    transcode: {type: object, properties: {encrypt: {type: boolean, default: false}}}
steps:
  probe: {activity: media.probe@1, with: {source: "${{ input.source }}"}}
  cover: {activity: video.cover@1, with: {source: "${{ input.source }}"}, on_failure: continue}
  chunk: {activity: media.any@1, with: {probe: "${{ steps.probe.output }}"}}
  encode:
    activity: video.encode@2
    for_each: steps.chunk.output.chunks
    with: {source: "${{ input.source }}", chunk: "${{ each }}"}
    requires: {cpu: 2, memory: 1GiB, disk: 20GiB, gpu: optional}
    timeout: {attempt: 6h, stall: 5m, total: 24h}
    queue: video-large
    priority: 5
    retry:
      max_attempts: 4
      backoff: {initial: 2s, factor: 2, max: 2m, jitter: full}
      rules:
        - {class: resource, set: {encoder: x264}}
        - {class: input, retry: false}
        - {code: out_of_memory, when: attempt < 3}
      when: error.class != 'bug'
  package: {activity: media.any@1, with: {tracks: "${{ steps.encode.output }}"}}
  publish:
    activity: media.any@1
    needs: [cover, package]
    when: steps.package.output.playlist != ''
    with: {set: "${{ steps.package.output }}"}
output: {playlist: "${{ steps.publish.output.playlist }}"}
"#;

fn full() -> Definition {
    valid(FULL)
}

fn valid(text: &str) -> Definition {
    validate(text, &Catalog).unwrap_or_else(|found| panic!("{}", rendered(&found, text)))
}

fn rendered(found: &[Diagnostic], text: &str) -> String {
    found
        .iter()
        .map(|diagnostic| diagnostic.render("video.yaml", text))
        .collect()
}

fn found_in(text: &str) -> Vec<(&'static str, usize, usize)> {
    match validate(text, &Catalog) {
        Ok(_) => Vec::new(),
        Err(found) => found
            .iter()
            .map(|diagnostic| (diagnostic.code, diagnostic.line, diagnostic.column))
            .collect(),
    }
}

fn need(step: &str, any: bool) -> Need {
    Need {
        step: step.to_owned(),
        any,
    }
}

#[test]
fn a_definition_means_what_it_says() {
    let definition = full();
    assert_eq!(
        (definition.name.as_str(), definition.version),
        ("video:full", 3)
    );
    let order: Vec<&str> = definition.steps.keys().map(String::as_str).collect();
    assert_eq!(
        order,
        ["cover", "probe", "chunk", "encode", "package", "publish"]
    );
    let encode = &definition.steps["encode"];
    assert_eq!(encode.activity.to_string(), "video.encode@2");
    assert_eq!(encode.needs, [need("chunk", false)]);
    assert_eq!(encode.timeout.stall, Some(Duration::from_secs(300)));
    assert_eq!(
        encode.requires,
        Requires {
            cpu: 2,
            memory_bytes: Some(1 << 30),
            disk_bytes: Some(20 << 30),
            gpu: Gpu::Optional
        }
    );
    assert_eq!(encode.retry.max_attempts, 4);
    assert_eq!(encode.retry.rules[0].set["encoder"], json!("x264"));
    assert!(!encode.retry.rules[1].retry);
    assert_eq!(
        (encode.queue, encode.priority),
        (Some(Queue::VideoLarge), Some(5))
    );
    assert_eq!(definition.steps["cover"].on_failure, OnFailure::Continue);
    assert_eq!(
        definition.steps["publish"].needs,
        [need("cover", false), need("package", false)]
    );
}

#[test]
fn needs_are_implied_by_references_and_take_any_outcome_only_if_null_is_harmless() {
    let publish = |lines: &str| {
        let text = format!(
            "workflow: t\nversion: 1\nsteps:\n  a: {{activity: media.any@1}}\n  \
             b: {{activity: media.any@1}}\n  p:\n    activity: media.any@1\n{lines}"
        );
        valid(&text).steps["p"].needs.clone()
    };
    for (lines, needs) in [
        (
            "    with: {x: '${{ steps.a.output.x }}'}",
            vec![need("a", false)],
        ),
        (
            "    with: {x: '${{ steps.a.output }}'}",
            vec![need("a", false)],
        ),
        (
            "    with: {x: '${{ steps.a.output.?x }}'}",
            vec![need("a", true)],
        ),
        (
            "    with: {x: '${{ steps.a.output.?x }}', y: '${{ steps.a.output.y }}'}",
            vec![need("a", false)],
        ),
        (
            "    when: steps.a.output == null || steps.a.output.ok\n    needs: [b]",
            vec![need("a", true), need("b", false)],
        ),
        (
            "    needs: {a: any, b: succeeded}",
            vec![need("a", true), need("b", false)],
        ),
        (
            "    needs: [b, {a: any}]",
            vec![need("a", true), need("b", false)],
        ),
        (
            "    needs: [a]\n    with: {x: '${{ steps.a.output.?x }}'}",
            vec![need("a", false)],
        ),
        (
            "    needs: {a: any}\n    with: {x: '${{ steps.a.output }}'}",
            vec![need("a", true)],
        ),
        ("    for_each: steps.b.output.list", vec![need("b", false)]),
    ] {
        assert_eq!(publish(lines), needs, "{lines}");
    }
}

/// Five steps into which a mistake is put; the mistake begins on line 5.
fn with_step(step: &str) -> String {
    format!("workflow: t\nversion: 1\nsteps:\n  a: {{activity: media.any@1}}\n{step}\n")
}

/// Code, column and the step of [`with_step`] that has the mistake.
const MISTAKES_IN_STEPS: &str = r#"
unknown_key        7 |  b: {activty: media.any@1}
missing_key        6 |  b: {with: {}}
bad_id            17 |  b: {activity: media.any}
unknown_activity  17 |  b: {activity: media.prob@1}
unknown_activity  17 |  b: {activity: video.encode@1}
bad_type          17 |  b: {activity: 5}
bad_type           3 |  b:
bad_type           6 |  b: [1]
bad_id             3 |  B: {activity: media.any@1}
bad_id             3 |  in: {activity: media.any@1}
duplicate_key      3 |  a: {activity: media.any@1}
unknown_step      38 |  b: {activity: media.any@1, needs: [c]}
unknown_step      38 |  b: {activity: media.any@1, needs: {c: any}}
bad_value         41 |  b: {activity: media.any@1, needs: {a: some}}
bad_type          37 |  b: {activity: media.any@1, needs: a}
cycle              3 |  b: {activity: media.any@1, needs: [b]}
bad_expression    38 |  b: {activity: media.any@1, when: 1 +}
unknown_function  44 |  b: {activity: media.any@1, when: input.x.isze()}
bad_expression    36 |  b: {activity: media.any@1, when: '${{ true }}'}
unknown_root      36 |  b: {activity: media.any@1, when: stesp.a.output}
unknown_root      36 |  b: {activity: media.any@1, when: each}
unknown_root      40 |  b: {activity: media.any@1, for_each: each}
unknown_root      36 |  b: {activity: media.any@1, when: error.class == 'x'}
unknown_step      36 |  b: {activity: media.any@1, when: steps.c.output}
unknown_member    36 |  b: {activity: media.any@1, when: steps.a.ouput}
unknown_member    36 |  b: {activity: media.any@1, when: steps.a}
bad_expression    41 |  b: {activity: media.any@1, when: size(steps) > 1}
bad_expression    49 |  b: {activity: media.any@1, with: {x: 'é ${{ 1 + }}'}}
unknown_root      47 |  b: {activity: media.any@1, with: {x: 'x ${{ x }} x'}}
bad_expression    43 |  b: {activity: media.any@1, with: {x: 'x ${{ 1'}}
unknown_root      40 |  b: {activity: media.any@1, with: {x: "\n${{ each }}"}}
bad_expression    37 |  b: {activity: media.any@1, with: {"${{ input.x }}": 1}}
bad_type          36 |  b: {activity: media.any@1, with: [1]}
bad_value         42 |  b: {activity: media.any@1, on_failure: ignore}
bad_duration      49 |  b: {activity: media.any@1, timeout: {attempt: 5min}}
bad_duration      47 |  b: {activity: media.any@1, timeout: {stall: 5}}
unknown_key       40 |  b: {activity: media.any@1, timeout: {stal: 5s}}
bad_value         39 |  b: {activity: media.any@1, timeout: {attempt: 2h, total: 1h}}
bad_size          49 |  b: {activity: media.any@1, requires: {memory: 1gb}}
bad_value         46 |  b: {activity: media.any@1, requires: {cpu: 0}}
bad_value         46 |  b: {activity: media.any@1, requires: {cpu: 1.5}}
bad_value         46 |  b: {activity: media.any@1, requires: {gpu: maybe}}
bad_value         37 |  b: {activity: media.any@1, queue: 'video:huge'}
bad_value         40 |  b: {activity: media.any@1, priority: 5000}
bad_type          40 |  b: {activity: media.any@1, priority: high}
bad_value         52 |  b: {activity: media.any@1, retry: {max_attempts: 0}}
bad_value         56 |  b: {activity: media.any@1, retry: {backoff: {factor: 0.5}}}
bad_value         47 |  b: {activity: media.any@1, retry: {backoff: {max: 1s}}}
bad_type          45 |  b: {activity: media.any@1, retry: {rules: {class: input}}}
bad_value         54 |  b: {activity: media.any@1, retry: {rules: [{class: inptu}]}}
missing_key       46 |  b: {activity: media.any@1, retry: {rules: [{retry: false}]}}
implicit_boolean  66 |  b: {activity: media.any@1, retry: {rules: [{class: bug, retry: no}]}}
unknown_root      44 |  b: {activity: media.any@1, retry: {when: input.x}}
not_supported_yet  7 |  b: {workflow: video:cover}
not_supported_yet  7 |  b: {wait: {signal: x}}
bad_value         37 |  b: {activity: media.any@1, cache: write}
not_supported_yet 30 |  b: {activity: media.any@1, compensate: x}
not_supported_yet 30 |  b: {activity: media.any@1, concurrency: {key: x}}
"#;

#[test]
fn mistakes_in_steps_are_found_where_they_are() {
    for case in MISTAKES_IN_STEPS.trim().lines() {
        let (expected, step) = case.split_once('|').unwrap();
        let expected: Vec<&str> = expected.split_whitespace().collect();
        let column = expected[1].parse().unwrap();
        let found = found_in(&with_step(step));
        assert_eq!(
            found.first().copied(),
            Some((expected[0], 5, column)),
            "{step}: {found:?}"
        );
        // A rule whose `retry` is text is told so as well; nothing else has an echo.
        let echoes = usize::from(expected[0] == "implicit_boolean");
        assert!(found.len() <= 1 + echoes, "{step}: {found:?}");
    }
}

#[test]
fn a_step_without_a_cache_says_so_without_quotes() {
    let text = |step: &str| {
        format!(
            "workflow: t:x\nversion: 1\nsteps:\n  cache: {{activity: media.any@1, {step}}}\noutput: {{}}\n"
        )
    };
    let plain = validate(&text("cache: off"), &Catalog).expect("a definition");
    let quoted = validate(&text("cache: 'off'"), &Catalog).expect("a definition");
    assert_eq!(plain.digest(), quoted.digest());
    for elsewhere in [
        "cache: no",
        "cache: OFF",
        "with: {cache: off}",
        "with: {steps: {a: {cache: off}}}",
    ] {
        let found = validate(&text(elsewhere), &Catalog).expect_err(elsewhere);
        let codes: Vec<_> = found.iter().map(|it| it.code).collect();
        assert!(
            codes.contains(&"implicit_boolean"),
            "{elsewhere}: {codes:?}"
        );
    }
}

#[test]
fn literal_parameters_are_checked_against_the_schema_of_the_activity() {
    for (with, code, column) in [
        ("{source: a, chunk: 1}", "", 0),
        (
            "{source: '${{ input.x }}', chunk: 1, ladder: '${{ input.x }}'}",
            "",
            0,
        ),
        ("{source: a, chunk: 1, audio: null}", "", 0),
        ("{source: a, chunk: 1, audio: {bitrate: 1}}", "", 0),
        ("{source: a}", "missing_member", 9),
        ("{source: '${{ input.x }}'}", "missing_member", 9),
        ("{source: 5, chunk: 1}", "bad_type", 18),
        ("{source: a, chunk: 1, sorce: b}", "unknown_member", 31),
        (
            "{source: '${{ input.x }}', chunk: 1, sorce: b}",
            "unknown_member",
            46,
        ),
        ("{source: a, chunk: 1, encoder: x265}", "bad_value", 40),
        (
            "{source: a, chunk: '${{ input.x }}', encoder: x265}",
            "bad_value",
            55,
        ),
        (
            "{source: a, chunk: 1, ladder: [{short_edge: big}]}",
            "bad_type",
            53,
        ),
        (
            "{source: a, chunk: 1, ladder: [{short_edge: '${{ input.x }}', crv: 5}]}",
            "unknown_member",
            71,
        ),
        (
            "{source: a, chunk: 1, audio: {label: '${{ input.x }}', bitrate: x}}",
            "bad_type",
            73,
        ),
        ("{source: a, chunk: 1, audio: {bitrate: x}}", "bad_type", 48),
        ("{source: a, chunk: 1, audio: 5}", "bad_type", 38),
    ] {
        let text = with_step(&format!(
            "  b:\n    activity: video.encode@2\n    with: {with}"
        ));
        let expected: Vec<_> = (!code.is_empty())
            .then_some((code, 7, column + 2))
            .into_iter()
            .collect();
        assert_eq!(found_in(&text), expected, "{with}");
    }
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is read")]
struct Greeting {
    name: String,
    tone: Option<Tone>,
    #[serde(default)]
    times: u32,
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Tone {
    /// Documented variants become a schema each.
    Warm,
    /// Like this one.
    Curt,
}

#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct Greeted {
    text: String,
}

#[derive(Debug)]
struct Hello;

impl Activity for Hello {
    const NAME: &'static str = "example.hello";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Greets somebody by name.";
    type Input = Greeting;
    type Output = Greeted;

    async fn run(&self, _ctx: &Context, input: Greeting) -> Result<Greeted, ActivityError> {
        Ok(Greeted { text: input.name })
    }
}

#[test]
fn activities_of_the_registry_are_checked_by_the_schemas_of_their_types() {
    let mut registry = Registry::default();
    registry.register(Hello).unwrap();
    let codes = |with: &str, when: &str| {
        let text = format!(
            "workflow: t\nversion: 1\nsteps:\n  a: {{activity: example.hello@1, with: {with}}}\n  \
             b: {{activity: example.hello@1, with: {{name: x}}, when: {when}}}\n"
        );
        let found = validate(&text, &registry).err().unwrap_or_default();
        found.iter().map(|found| found.code).collect::<Vec<_>>()
    };
    let ok = "steps.a.output.text == 'x'";
    assert_eq!(codes("{name: x}", ok), [""; 0]);
    assert_eq!(
        codes("{name: '${{ input.x }}', tone: warm, times: 3}", ok),
        [""; 0]
    );
    assert_eq!(codes("{name: x, tone: null}", ok), [""; 0]);
    assert_eq!(codes("{name: x, tone: wram}", ok), ["bad_value"]);
    assert_eq!(
        codes("{name: '${{ input.x }}', tone: wram}", ok),
        ["bad_value"]
    );
    assert_eq!(codes("{name: x, times: -1}", ok), ["bad_value"]);
    assert_eq!(codes("{nmae: x}", ok), ["missing_member", "unknown_member"]);
    assert_eq!(
        codes("{name: x}", "steps.a.output.txt == 'x'"),
        ["unknown_member"]
    );
}

#[test]
fn a_value_that_is_none_of_a_few_is_told_which() {
    let mut registry = Registry::default();
    registry.register(Hello).unwrap();
    let text = "workflow: t\nversion: 1\nsteps:\n  \
        a: {activity: example.hello@1, with: {name: x, tone: wram, times: -1}}\n";
    let found = validate(text, &registry).unwrap_err();
    assert_eq!(found[0].message, "`tone`: must be one of warm, curt");
    assert_eq!(found[0].help.as_deref(), Some("did you mean `warm`?"));
    assert_eq!(found[1].message, "`times`: must be >=0, but got -1");
}

#[test]
fn parameters_set_on_retry_are_checked_too() {
    let rule = |set: &str| {
        with_step(&format!(
            "  b:\n    activity: video.encode@2\n    with: {{source: a, chunk: 1}}\n    \
             retry: {{rules: [{{class: resource, set: {set}}}]}}"
        ))
    };
    assert_eq!(found_in(&rule("{encoder: x264}")), []);
    assert_eq!(
        found_in(&rule("{encodr: x264}")),
        [("unknown_member", 8, 45)]
    );
    assert_eq!(found_in(&rule("{encoder: x265}")), [("bad_value", 8, 54)]);
    assert_eq!(
        found_in(&rule("{encoder: '${{ 1 }}'}"))[0].0,
        "bad_expression"
    );
}

#[test]
fn members_that_an_output_or_the_input_cannot_have_are_found() {
    let when = |expression: &str| {
        format!(
            "workflow: t\nversion: 1\ninput: {{type: object, properties: {{source: {{type: string}}, \
             o: {{type: object}}}}}}\nsteps:\n  a: {{activity: media.probe@1, with: {{source: x}}}}\n  \
             l: {{activity: media.probe@1, for_each: '[1]', with: {{source: x}}}}\n  \
             b: {{activity: media.any@1, when: \"{expression}\"}}\n"
        )
    };
    for expression in [
        "input.source == 'x'",
        "input.o.anything",
        "steps.a.output.duration_s > 1.0",
        "steps.a.output.tags.anything == ''",
        "steps.l.output[0].duration_s > 1.0",
        "steps.l.output.map(x, x.duration_s).size() > 0",
    ] {
        assert_eq!(found_in(&when(expression)), [], "{expression}");
    }
    for (expression, code, help) in [
        (
            "input.sorce == 'x'",
            "unknown_member",
            Some("did you mean `source`?"),
        ),
        (
            "steps.a.output.duration > 1.0",
            "unknown_member",
            Some("did you mean `duration_s`?"),
        ),
        (
            "steps.a.output.video.widht > 1",
            "unknown_member",
            Some("did you mean `width`?"),
        ),
        ("steps.l.output.duration_s > 1.0", "bad_type", None),
    ] {
        let found = validate(&when(expression), &Catalog).unwrap_err();
        assert_eq!(
            (found.len(), found[0].code),
            (1, code),
            "{expression}: {found:?}"
        );
        assert_eq!(found[0].help.as_deref(), help, "{expression}");
        assert_eq!((found[0].line, found[0].column), (7, 37));
    }
}

/// Code, line, column and the file, in which `STEPS` stands for the one step it needs.
const MISTAKES_AROUND_STEPS: &str = r#"
empty_file        1:1  |
empty_file        1:1  |# nothing\n
bad_type          1:1  |[]
missing_key       1:1  |workflow: t\nversion: 1\n
limit_exceeded    3:8  |workflow: t\nversion: 1\nsteps: {}\n
bad_type          3:8  |workflow: t\nversion: 1\nsteps: 5\n
missing_key       1:1  |version: 1\nSTEPS\n
bad_id            1:11 |workflow: T\nversion: 1\nSTEPS\n
bad_id            1:11 |workflow: a:b:c\nversion: 1\nSTEPS\n
bad_value         2:10 |workflow: t\nversion: 0\nSTEPS\n
bad_type          2:10 |workflow: t\nversion: '1'\nSTEPS\n
bad_schema        3:15 |workflow: t\nversion: 1\ninput: {type: objekt}\nSTEPS\n
bad_schema        3:8  |workflow: t\nversion: 1\ninput: {type: array}\nSTEPS\n
bad_schema        3:8  |workflow: t\nversion: 1\ninput: {type: object, properties: {a: {$ref: 'file:///etc/hostname'}}}\nSTEPS\n
bad_schema        3:63 |workflow: t\nversion: 1\ninput: {type: object, properties: {a: {type: string, pattern: '(a{1000}){1000}'}}}\nSTEPS\n
bad_schema        3:66 |workflow: t\nversion: 1\ninput: {type: object, properties: {a: {items: {anyOf: [{pattern: '(a{1000}){1000}'}]}}}}\nSTEPS\n
bad_schema        3:61 |workflow: t\nversion: 1\ninput: {type: object, properties: {pattern: {not: {pattern: '\p{Lazy}'}}}}\nSTEPS\n
bad_schema        3:39 |workflow: t\nversion: 1\ninput: {type: object, properties: {a: {$ref: '#/properties/a'}}}\nSTEPS\n
bad_schema        3:39 |workflow: t\nversion: 1\ninput: {type: object, properties: {a: {allOf: [{$ref: '#/properties/a'}]}}}\nSTEPS\n
bad_schema        3:64 |workflow: t\nversion: 1\ninput: {type: object, properties: {a: {type: integer, default: abc}}}\nSTEPS\n
unknown_root      4:18 |workflow: t\nversion: 1\nSTEPS\noutput: {x: '${{ each }}'}\n
several_documents 4:1  |workflow: t\nversion: 1\nSTEPS\n---\na: 1\n
duplicate_key     3:1  |workflow: t\nversion: 1\nworkflow: u\nSTEPS\n
implicit_boolean  3:14 |workflow: t\nversion: 1\ndescription: yes\nSTEPS\n
implicit_null     3:14 |workflow: t\nversion: 1\ndescription: ~\nSTEPS\n
ambiguous_number  2:10 |workflow: t\nversion: 01\nSTEPS\n
ambiguous_number  2:10 |workflow: t\nversion: 0x10\nSTEPS\n
ambiguous_number  2:10 |workflow: t\nversion: 1_000\nSTEPS\n
yaml_feature      1:11 |workflow: &a t\nversion: 1\nSTEPS\n
yaml_feature      1:11 |workflow: !!str t\nversion: 1\nSTEPS\n
yaml_feature      3:1  |workflow: t\nversion: 1\n<<: {}\nSTEPS\n
bad_yaml          3:6  |workflow: t\nversion: [1\nsteps: 1\n
bad_yaml          1:11 |workflow: t\n\tversion: 1\n
"#;

#[test]
fn mistakes_around_the_steps_are_found_where_they_are() {
    for case in MISTAKES_AROUND_STEPS.trim().lines() {
        let (expected, text) = case.split_once('|').unwrap();
        let expected: Vec<&str> = expected
            .split([' ', ':'])
            .filter(|s| !s.is_empty())
            .collect();
        let place = (expected[1].parse().unwrap(), expected[2].parse().unwrap());
        let text = text.replace("\\n", "\n").replace("\\t", "\t");
        let text = text.replace("STEPS", "steps: {a: {activity: media.any@1}}");
        let found = found_in(&text);
        let expected = (expected[0], place.0, place.1);
        assert_eq!(found.first().copied(), Some(expected), "{text}: {found:?}");
    }
}

#[test]
fn every_circle_is_shown_with_its_path() {
    let text = "workflow: t\nversion: 1\nsteps:\n  \
        a: {activity: media.any@1, needs: [c]}\n  \
        b: {activity: media.any@1, with: {x: '${{ steps.a.output }}'}}\n  \
        c: {activity: media.any@1, needs: [b, d]}\n  \
        d: {activity: media.any@1}\n  \
        e: {activity: media.any@1, needs: [f]}\n  \
        f: {activity: media.any@1, needs: [e]}\n";
    let found = validate(text, &Catalog).unwrap_err();
    let messages: Vec<&str> = found.iter().map(|found| found.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "these steps need each other: a -> c -> b -> a",
            "these steps need each other: e -> f -> e",
        ]
    );
}

#[test]
fn five_mistakes_are_shown_at_once_with_carets_and_the_nearest_names() {
    let text = r#"workflow: video:full
version: 3
input: {type: object, properties: {source: {type: string}}}
steps:
  probe:
    activty: media.probe@1
    with: {source: "${{ input.source }}"}
  cover:
    activity: video.covr@1
    with: {source: "${{ inptu.source }}"}
    timeout: {attempt: 5 minutes}
  publish: {activity: media.any@1, needs: [covr]}
"#;
    let found = validate(text, &Catalog).unwrap_err();
    let expected = r#"video.yaml:6:5: error[unknown_key]: the step `probe` has no key `activty`
  6 |     activty: media.probe@1
    |     ^^^^^^^
    = help: did you mean `activity`?
video.yaml:9:15: error[unknown_activity]: there is no activity `video.covr@1`
  9 |     activity: video.covr@1
    |               ^^^^^^^^^^^^
    = help: did you mean `video.cover@1`?
video.yaml:10:25: error[unknown_root]: there is no `inptu` here; expressions here begin with input, steps
  10 |     with: {source: "${{ inptu.source }}"}
     |                         ^^^^^^^^^^^^
     = help: did you mean `input`?
video.yaml:11:24: error[bad_duration]: `5 minutes` is not a duration; write for example 500ms, 30s, 5m, 6h, 2d or 1h30m
  11 |     timeout: {attempt: 5 minutes}
     |                        ^^^^^^^^^
video.yaml:12:44: error[unknown_step]: there is no step `covr`
  12 |   publish: {activity: media.any@1, needs: [covr]}
     |                                            ^^^^
     = help: did you mean `cover`?
"#;
    assert_eq!(rendered(&found, text), expected);
}

#[test]
fn a_mistake_in_a_file_of_one_long_line_is_shown_in_part() {
    let filler = "x".repeat(5_000);
    let text = format!(
        "{{\"workflow\": \"t\", \"version\": 1, \"description\": \"{filler}\", \
         \"steps\": {{\"a\": {{\"activity\": \"media.any@1\", \"prioritty\": 1}}}}}}"
    );
    let found = validate(&text, &Catalog).unwrap_err();
    let unknown = found
        .iter()
        .find(|found| found.code == "unknown_key")
        .unwrap();
    let shown = unknown.render("f.json", &text);
    assert!(
        shown.lines().all(|line| line.chars().count() < 120),
        "{shown}"
    );
    let lines: Vec<&str> = shown.lines().collect();
    let caret = lines[2].find('^').unwrap();
    assert_eq!(&lines[1][caret..caret + 11], "\"prioritty\"");
}

#[test]
fn what_is_shown_of_a_file_cannot_drive_a_terminal() {
    let text = with_step("  b: {activity: media.any@1, \"e\\x1b[31mvil\": \u{9b}31m}");
    let found = validate(&text, &Catalog).unwrap_err();
    let shown = rendered(&found, &text);
    assert!(
        shown.chars().all(|c| c == '\n' || !c.is_control()),
        "{shown:?}"
    );
}

#[test]
fn json_is_accepted() {
    let canonical = full().canonical();
    assert_eq!(valid(&canonical), full());
    let pretty = serde_json::to_string_pretty(&full()).unwrap();
    assert_eq!(valid(&pretty), full());
}

#[test]
fn the_canonical_form_does_not_depend_on_how_the_file_is_written() {
    let one = "workflow: t\nversion: 1\nsteps:\n  b: {activity: media.any@1, with: {x: '${{ steps.a.output }}'}}\n  a: {activity: media.any@1}\n";
    let two = r#"{"version": 1, "steps": {"a": {"activity": "media.any@1", "on_failure": "fail",
        "retry": {"backoff": {"initial": "2000ms"}}}, "b": {"with": {"x": "${{steps.a.output}}"},
        "needs": ["a"], "activity": "media.any@1", "requires": {"cpu": 1}}}, "workflow": "t"}"#;
    assert_eq!(valid(one).canonical(), valid(two).canonical());
    assert_eq!(valid(one).digest(), valid(two).digest());
    assert!(valid(one).digest().starts_with("sha256:"));
    let other = one.replace("steps.a.output", "steps.a.output.x");
    assert_ne!(valid(one).digest(), valid(&other).digest());
}

/// The canonical form is stored and hashed: it may only change with a migration.
#[test]
fn the_canonical_form_is_pinned() {
    let text = "workflow: t\nversion: 1\nsteps: {a: {activity: media.any@1, with: {é: 1.0}}}\n";
    assert_eq!(
        valid(text).canonical(),
        r#"{"input":{"type":"object"},"output":null,"steps":{"a":{"activity":"media.any@1","needs":{},"on_failure":"fail","requires":{"cpu":1,"gpu":"none"},"retry":{"backoff":{"factor":2.0,"initial":"2s","jitter":"full","max":"2m"},"max_attempts":3,"rules":[]},"timeout":{},"with":{"é":1.0}}},"version":1,"workflow":"t"}"#
    );
}

#[test]
fn a_stored_definition_is_read_without_its_activities() {
    let definition = full();
    let again = Definition::from_canonical(&definition.canonical()).unwrap();
    assert_eq!(again, definition);
    assert_eq!(again.digest(), definition.digest());
    let names = |definition: &Definition| definition.steps.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&again), names(&definition));
    let error = Definition::from_canonical("{\"workflow\": 5}").unwrap_err();
    assert!(error.to_string().contains("must be text"), "{error}");
    assert!(Definition::from_canonical("nonsense").is_err());
}

#[test]
fn a_stored_definition_may_name_a_queue_of_another_release() {
    let stored = full().canonical().replace("video:large", "gpu-farm");
    assert!(stored.contains("gpu-farm"));
    let definition = Definition::from_canonical(&stored).unwrap();
    assert_eq!(definition.steps["encode"].queue, Some(Queue::Default));
}

fn check(schema: &str, input: Value) -> Result<Value, Vec<(String, String)>> {
    let text = format!(
        "workflow: t\nversion: 1\ninput: {schema}\nsteps: {{a: {{activity: media.any@1}}}}\n"
    );
    valid(&text).check_input(input).map_err(|errors| {
        let errors = errors.into_iter();
        errors.map(|error| (error.pointer, error.message)).collect()
    })
}

const INPUT: &str = "{type: object, required: [source], properties: {source: {type: string}, \
    width: {type: integer, default: 320}, transcode: {type: object, properties: {encrypt: {type: \
    boolean, default: false}, rungs: {type: array, items: {type: object, properties: {crf: \
    {type: number, default: 23.5}}}}}}, extra: {type: object}}}";

#[test]
fn defaults_of_the_input_are_filled_in() {
    assert_eq!(
        check(
            INPUT,
            json!({"source": "a.mp4", "transcode": {"rungs": [{}, {"crf": 20}]}})
        ),
        Ok(json!({"source": "a.mp4", "width": 320,
            "transcode": {"encrypt": false, "rungs": [{"crf": 23.5}, {"crf": 20}]}}))
    );
    assert_eq!(
        check(
            INPUT,
            json!({"source": "a.mp4", "extra": {"anything": [1]}})
        ),
        Ok(
            json!({"source": "a.mp4", "width": 320, "transcode": {"encrypt": false},
            "extra": {"anything": [1]}})
        )
    );
}

#[test]
fn everything_wrong_with_an_input_is_told() {
    let found = check(
        INPUT,
        json!({"sorce": "a.mp4", "width": "x", "transcode": {"encypt": true}}),
    );
    let expected = [
        ("/sorce", "there is no `sorce`; did you mean `source`?"),
        ("/source", "`source` is missing"),
        (
            "/transcode/encypt",
            "there is no `encypt`; did you mean `encrypt`?",
        ),
        ("/width", "must be a whole number, not text"),
    ];
    let expected = expected.map(|(pointer, message)| (pointer.to_owned(), message.to_owned()));
    assert_eq!(found, Err(expected.to_vec()));
    let found = check(INPUT, json!([])).unwrap_err();
    assert_eq!(
        found,
        [(String::new(), "must be a map, not a list".to_owned())]
    );
}

#[test]
fn a_schema_may_leave_its_input_open() {
    let open = "{type: object, properties: {a: {type: string}}, additionalProperties: true}";
    assert_eq!(check(open, json!({"b": 1})), Ok(json!({"b": 1})));
    let either = "{type: object, anyOf: [{properties: {a: {type: string}}, required: [a]}, \
        {properties: {b: {type: integer}}, required: [b]}]}";
    assert_eq!(check(either, json!({"b": 1})), Ok(json!({"b": 1})));
    assert!(check(either, json!({"b": "x"})).is_err());
}

#[test]
fn hostile_files_are_refused_at_once() {
    let bomb: String = (1..60)
        .map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}, *a{0}]\n", n - 1))
        .collect();
    let wide: String = (0..30_000).map(|n| format!("k{n}: 1\n")).collect();
    let cases: [(&str, String); 11] = [
        ("limit_exceeded", "x".repeat(limits::DEFINITION_BYTES + 1)),
        ("limit_exceeded", "[".repeat(200_000)),
        ("limit_exceeded", "{a: ".repeat(50_000)),
        ("limit_exceeded", "- ".repeat(100_000)),
        (
            "limit_exceeded",
            (0..500).map(|n| format!("{}a:\n", " ".repeat(n))).collect(),
        ),
        ("bad_type", format!("\"{}\"", "x".repeat(200_000))),
        ("yaml_feature", format!("a0: &a0 x\n{bomb}")),
        ("limit_exceeded", wide),
        ("limit_exceeded", format!("[{}]", "1,".repeat(100_000))),
        ("bad_yaml", "\u{0}".repeat(1000)),
        ("limit_exceeded", {
            let steps: String = (0..1_001).map(|n| format!("  s{n}: 1\n")).collect();
            format!("workflow: t\nversion: 1\nsteps:\n{steps}")
        }),
    ];
    for (code, text) in cases {
        let start = Instant::now();
        let found = validate(&text, &Catalog).unwrap_err();
        let elapsed = start.elapsed();
        let head: String = text.chars().take(12).collect();
        assert!(
            found.iter().any(|found| found.code == code),
            "{head}: {:?}",
            found.first()
        );
        assert!(found.len() <= limits::DIAGNOSTICS_PER_FILE);
        // A few milliseconds; minutes without the limits. The machine may be busy.
        assert!(elapsed < Duration::from_secs(20), "{head} took {elapsed:?}");
    }
}

/// What the schema for editors says about a file.
fn fits_schema(text: &str) -> bool {
    let mut compiler = boon::Compiler::new();
    compiler
        .add_resource("https://telecine.invalid/s", schema(&Catalog))
        .unwrap();
    let mut schemas = boon::Schemas::new();
    let index = compiler
        .compile("https://telecine.invalid/s", &mut schemas)
        .unwrap();
    let mut problems = diagnostic::Problems::default();
    let file = yaml::read(text, &mut problems).unwrap().to_json();
    schemas.validate(&file, index).is_ok()
}

#[test]
fn the_schema_for_editors_accepts_what_validation_accepts() {
    assert!(fits_schema(FULL));
    assert!(fits_schema(&full().canonical()));
    let step = "  b: {activity: media.any@1, needs: [a, {a: any}], when: true}";
    assert!(fits_schema(&with_step(step)));
}

#[test]
fn the_schema_for_editors_takes_an_expression_wherever_a_value_goes() {
    for with in [
        "{source: a, chunk: 1, ladder: [{short_edge: '${{ input.n }}', crf: 23}]}",
        "{source: a, chunk: 1, ladder: ['${{ input.rung }}']}",
        "{source: a, chunk: 1, encoder: '${{ input.encoder }}'}",
        "{source: a, chunk: 1, audio: {bitrate: '${{ input.n }}'}}",
    ] {
        let step = |with: &str| format!("  b: {{activity: video.encode@2, with: {with}}}");
        assert!(fits_schema(&with_step(&step(with))), "{with}");
        let literal = with.replace("${{", "{{");
        assert!(!fits_schema(&with_step(&step(&literal))), "{literal}");
    }
}

#[test]
fn the_schema_for_editors_refers_to_itself_alone() {
    let mut open = vec![schema(&Catalog)];
    let root = open[0].clone();
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => {
                assert!(!members.contains_key("$id"), "editors ignore it");
                if let Some(reference) = members.get("$ref") {
                    let pointer = reference.as_str().and_then(|r| r.strip_prefix('#'));
                    let target = pointer.and_then(|pointer| root.pointer(pointer));
                    assert!(target.is_some(), "{reference}");
                }
                open.extend(members.into_iter().map(|(_, value)| value));
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
}

#[test]
fn the_schema_for_editors_finds_what_it_can() {
    for step in [
        "  b: {activty: media.any@1}",
        "  b: {with: {}}",
        "  b: {activity: media.prob@1}",
        "  b: {activity: video.cover@1, with: {sorce: x}}",
        "  b: {activity: video.cover@1, with: {source: 5}}",
        "  b: {activity: video.cover@1}",
        "  b: {activity: video.encode@2, with: {source: a, chunk: 1, encoder: x265}}",
        "  b: {activity: media.any@1, on_failure: ignore}",
        "  b: {activity: media.any@1, timeout: {attempt: 5min}}",
        "  b: {activity: media.any@1, requires: {memory: 1gb}}",
        "  b: {activity: media.any@1, retry: {rules: [{retry: false}]}}",
        "  b: {activity: media.any@1, cache: write}",
    ] {
        assert!(!fits_schema(&with_step(step)), "{step}");
    }
}

fn any_step(names: Vec<String>) -> impl Strategy<Value = Value> {
    let duration = prop_oneof![Just("30s"), Just("1h30m"), Just("250ms"), Just("2d")];
    let reference = prop_oneof![
        prop::sample::select(names.clone())
            .prop_map(|name| format!("${{{{ steps.{name}.output }}}}")),
        prop::sample::select(names.clone())
            .prop_map(|name| format!("x ${{{{ steps.{name}.output.?a.orValue('}}}}') }}}} $${{{{")),
        "[ -~]{0,12}".prop_filter("no expressions by chance", |text| !text.contains("${{")),
    ];
    let with = prop::collection::btree_map("[a-zé/~ ]{1,6}", reference, 0..3);
    (
        with,
        prop::option::of(duration),
        prop::option::of(1.0f64..100.0),
        prop::option::of(1u64..1 << 50),
        prop::option::of(-1000..1000),
        any::<(bool, bool)>(),
        prop::sample::select(names),
    )
        .prop_map(
            |(with, duration, factor, memory, priority, (hold, any), need)| {
                let mut step = json!({"activity": "media.any@1", "with": with});
                if let Some(duration) = duration {
                    step["timeout"] = json!({"attempt": duration});
                    step["retry"] =
                        json!({"rules": [{"code": duration, "set": {"a": [null, 1.5]}}]});
                }
                if let Some(factor) = factor {
                    step["retry"]["backoff"] = json!({"factor": factor, "jitter": "none"});
                }
                if let Some(memory) = memory {
                    step["requires"] = json!({"memory": format!("{memory}B")});
                }
                if let Some(priority) = priority {
                    step["priority"] = json!(priority);
                }
                step["on_failure"] = json!(if hold { "hold" } else { "continue" });
                step["needs"] = json!({need: if any { "any" } else { "succeeded" }});
                step
            },
        )
}

/// Definitions whose steps refer to earlier ones only.
fn any_definition() -> impl Strategy<Value = Value> {
    let names: Vec<String> = ["root", "if", "b_2", "zz"].map(str::to_owned).to_vec();
    let steps: Vec<_> = (1..names.len())
        .map(|n| any_step(names[..n].to_vec()))
        .collect();
    (steps, 1u32.., "[ -~é\n]{0,20}").prop_map(move |(steps, version, description)| {
        let mut all = json!({"root": {"activity": "media.any@1"}});
        for (name, step) in names[1..].iter().zip(steps) {
            all[name] = step;
        }
        json!({"workflow": "t:x", "version": version, "description": description, "steps": all})
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_canonical_form_of_any_definition_reads_back(json in any_definition()) {
        let definition = match validate(&json.to_string(), &Catalog) {
            Ok(definition) => definition,
            Err(found) => return Err(TestCaseError::fail(rendered(&found, &json.to_string()))),
        };
        let canonical = definition.canonical();
        let stored = Definition::from_canonical(&canonical).unwrap();
        prop_assert_eq!(&stored, &definition);
        prop_assert_eq!(stored.canonical(), canonical.clone());
        prop_assert_eq!(&valid(&canonical), &definition);
        let position = |name: &str| definition.steps.get_index_of(name);
        for (name, step) in &definition.steps {
            for need in &step.needs {
                prop_assert!(position(&need.step) < position(name));
            }
        }
    }

    #[test]
    fn no_text_makes_validation_panic(text in "[a-z0-9:{}\\[\\]\"'|>&*!%@#?,.\\-\n é$]{0,80}") {
        let found = validate(&text, &Catalog).unwrap_err();
        rendered(&found, &text);
    }

    #[test]
    fn no_damage_to_a_definition_makes_validation_panic(
        at in 0..FULL.len(), len in 0usize..8, by in "[a-z{}:\"' \n$é]{0,3}"
    ) {
        let end = (at + len).min(FULL.len());
        let text = format!("{}{by}{}", &FULL[..at], &FULL[end..]);
        if let Err(found) = validate(&text, &Catalog) {
            rendered(&found, &text);
        }
    }
}
