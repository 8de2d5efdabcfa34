use schemars::JsonSchema;

use super::*;

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is looked at")]
struct Input {
    #[schemars(extend("x-telecine-source" = true))]
    source: String,
    #[schemars(extend("x-telecine-place" = true))]
    prefix: String,
    title: String,
    parts: Vec<Part>,
    logo: Option<Logo>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is looked at")]
struct Part {
    object: Artifact,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is looked at")]
struct Logo {
    #[schemars(extend("x-telecine-source" = true))]
    picture: String,
}

fn input(prefix: &str) -> Value {
    json!({
        "source": "a.mp4", "prefix": prefix, "title": "a.mp4",
        "parts": [{"object": {
            "key": format!("{prefix}/p1"), "size": 3, "sha256": "ab", "media_type": "video/mp4",
        }}],
        "logo": {"picture": "logo.png"},
    })
}

fn made(etag: &str) -> Made {
    let schema = schemars::schema_for!(Input).to_value();
    let marks = Marks::of(&schema, &input("x"));
    assert_eq!(marks.places, ["/prefix"]);
    assert_eq!(marks.sources, ["/logo/picture", "/source"]);
    let identity = |pointer: String| {
        let (size, etag) = (7, etag.to_owned());
        (pointer, SourceIdentity { size, etag })
    };
    Made {
        tools: "x264 1".to_owned(),
        places: marks.places,
        sources: marks.sources.into_iter().map(identity).collect(),
        reused_from: None,
    }
}

fn of(input: &Value, made: &Made) -> ReuseKey {
    key("t.a@1", input, made)
}

fn differs(before: &ReuseKey, after: &ReuseKey) -> Option<String> {
    assert_eq!(
        before.digest == after.digest,
        explain(before, after).is_none()
    );
    explain(before, after).map(|difference| difference.path)
}

#[test]
fn where_a_source_lies_and_where_the_output_goes_make_no_difference() {
    let before = of(&input("videos/a/g1"), &made("1"));
    let mut moved = input("videos/b/g7");
    moved["source"] = json!("b.mp4");
    assert_eq!(differs(&before, &of(&moved, &made("1"))), None);
    let mut reused = made("1");
    reused.reused_from = Some(Origin {
        job: RunId::generate(),
        step: StepId::item("encode", 3),
    });
    assert_eq!(differs(&before, &of(&moved, &reused)), None);
}

#[test]
fn the_first_component_that_differs_is_named_with_both_values() {
    let before = of(&input("p"), &made("1"));
    let path = |after: &ReuseKey| differs(&before, after).unwrap();

    let other_source = of(&input("p"), &made("2"));
    let difference = explain(&before, &other_source).unwrap();
    assert_eq!(difference.path, "/input/logo/picture/etag");
    assert_eq!(
        (difference.before, difference.after),
        (Some(json!("1")), Some(json!("2")))
    );

    let mut tools = made("2");
    tools.tools = "x264 2".to_owned();
    assert_eq!(path(&of(&input("p"), &tools)), "/tools");
    assert_eq!(path(&key("t.a@2", &input("p"), &tools)), "/activity");

    let mut titled = input("p");
    titled["title"] = json!("b.mp4");
    assert_eq!(path(&of(&titled, &made("1"))), "/input/title");
    let mut longer = input("p");
    longer["parts"].as_array_mut().unwrap().push(json!(1));
    let added = explain(&before, &of(&longer, &made("1"))).unwrap();
    assert_eq!(
        (added.path.as_str(), added.before),
        ("/input/parts/1", None)
    );
}

#[test]
fn an_object_counts_by_its_bytes_and_its_name_below_the_place() {
    let before = of(&input("p"), &made("1"));
    let with_key = |key: &str| {
        let mut input = input("p");
        input["parts"][0]["object"]["key"] = json!(key);
        of(&input, &made("1"))
    };
    let name = "/input/parts/0/object/name";
    assert_eq!(differs(&before, &with_key("p/p2")).as_deref(), Some(name));
    assert_eq!(differs(&with_key("elsewhere/1"), &with_key("q/2")), None);
    let mut other = input("p");
    other["parts"][0]["object"]["sha256"] = json!("cd");
    let bytes = "/input/parts/0/object/sha256";
    let other = of(&other, &made("1"));
    assert_eq!(differs(&before, &other).as_deref(), Some(bytes));
}

#[test]
fn a_schema_that_refers_to_itself_is_looked_at_once_around() {
    let schema = json!({
        "properties": {"inner": {"$ref": "#"}, "to": {"type": "string", PLACE: true}},
        "allOf": [{"$ref": "#"}],
    });
    let marks = Marks::of(&schema, &json!({"inner": {"inner": {"to": "x"}}, "to": 3}));
    assert_eq!(marks.places, ["/inner/inner/to"]);
}

#[test]
fn an_output_is_moved_with_what_it_names() {
    let (before, after) = (json!({"prefix": "v/g1"}), json!({"prefix": "v/g2"}));
    let moved = Move::between(&before, &after, &["/prefix".to_owned()]).unwrap();
    assert_eq!(moved.key("v/g1/a/b.m4s").as_deref(), Some("v/g2/a/b.m4s"));
    assert_eq!(moved.key("v/g10/a"), None);
    let output = json!({"at": "v/g1", "list": ["v/g1/x", "media://v/g1/y", "v/g10/z", 1]});
    let expected = json!({"at": "v/g2", "list": ["v/g2/x", "media://v/g2/y", "v/g10/z", 1]});
    assert_eq!(moved.output(&output), expected);
    assert_eq!(
        Move::between(&before, &json!({}), &["/prefix".to_owned()]),
        None
    );
}

#[test]
fn a_pointer_touches_a_place_that_it_leads_to_or_past_or_has_in_it() {
    let schema = json!({
        "properties": {
            "prefix": {"type": "string", "x-telecine-place": true},
            "set": {"$ref": "#/$defs/Set"},
            "more": {"anyOf": [{"type": "null"}, {"items": {"$ref": "#/$defs/Set"}}]},
            "tree": {"$ref": "#/$defs/Tree"},
            "size": {"type": "integer"},
        },
        "$defs": {
            "Set": {"properties": {"at": {"$ref": "#/$defs/Place"}, "title": {"type": "string"}}},
            "Place": {"type": "object", "x-telecine-place": true},
            "Tree": {"properties": {"below": {"$ref": "#/$defs/Tree"}}},
        },
    });
    for pointer in [
        "/prefix",
        "/set",
        "/set/at",
        "/set/at/number",
        "/more/0",
        "/more/0/at",
    ] {
        assert!(touches_place(&schema, pointer), "{pointer}");
    }
    for pointer in ["/size", "/set/title", "/more/0/title", "/tree", "/other"] {
        assert!(!touches_place(&schema, pointer), "{pointer}");
    }
    let value = json!({"prefix": "a", "set": {"at": {"number": 1}}, "more": [{"at": {}}]});
    assert_eq!(
        places(&schema, &value),
        ["/more/0/at", "/prefix", "/set/at"]
    );
    assert_eq!(
        Marks::of(&schema, &value).places,
        ["/prefix"],
        "keys leave out text"
    );
}
