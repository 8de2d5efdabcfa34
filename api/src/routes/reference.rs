//! The reference of the HTTP API for people: one page, made of the description for programs, that needs
//! nothing else, neither scripts nor another server.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::Site;

/// What a browser may load for the page: nothing but the style within it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";
const STYLE: &str = include_str!("reference/style.css");
/// Methods in the order in which a path has them.
const METHODS: [&str; 5] = ["get", "post", "put", "delete", "patch"];

/// This reference, for people.
#[utoipa::path(
    get,
    path = "/docs",
    tag = "process",
    responses((status = 200, description = "A page.", body = String, content_type = "text/html")),
)]
pub(crate) async fn reference(State(site): State<Arc<Site>>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, site.reference().to_owned()).into_response()
}

/// The page of a description.
pub(super) fn page(description: &Value) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>telecine HTTP API</title>\
         <style>{STYLE}</style></head><body>\n<h1>telecine HTTP API</h1>\n<p>{}</p>\
         <p>For programs: <a href=\"/api/openapi.json\">/api/openapi.json</a>. What is wrong with a \
         request is told as <a href=\"#ProblemDocument\">application/problem+json</a>.</p>\n",
        prose(&description["info"]["description"])
    );
    contents(&mut html, description);
    for (path, method, operation) in operations(description) {
        section(&mut html, (path, method), operation);
    }
    html += "<h2 id=\"documents\">Documents</h2>\n";
    let schemas = description["components"]["schemas"].as_object();
    for (name, schema) in schemas.into_iter().flatten() {
        document(&mut html, name, schema);
    }
    html + "</body></html>\n"
}

fn operations(description: &Value) -> Vec<(&str, &'static str, &Value)> {
    let paths = description["paths"].as_object().into_iter().flatten();
    let each = paths.flat_map(|(path, item)| {
        let known = METHODS.iter();
        known.filter_map(|method| Some((path.as_str(), *method, item.get(method)?)))
    });
    each.collect()
}

fn contents(html: &mut String, description: &Value) {
    *html += "<nav><table>\n";
    for (path, method, operation) in operations(description) {
        let _ = writeln!(
            html,
            "<tr><td><a href=\"#{}\"><code>{} {}</code></a></td><td>{}</td></tr>",
            anchor(path, method),
            method.to_uppercase(),
            escaped(path),
            prose(&operation["summary"])
        );
    }
    *html += "</table></nav>\n";
}

/// What an operation is called in an address of this page.
fn anchor(path: &str, method: &str) -> String {
    let plain = path.replace(['/', '{', '}', '.'], "-");
    format!("{method}{plain}")
}

fn section(html: &mut String, (path, method): (&str, &str), operation: &Value) {
    let _ = writeln!(
        html,
        "<section id=\"{}\"><h2><code>{} {}</code></h2><p>{}</p><p>{}</p>",
        anchor(path, method),
        method.to_uppercase(),
        escaped(path),
        prose(&operation["summary"]),
        prose(&operation["description"])
    );
    let scopes = operation["security"][0]["api_key"].as_array();
    for scope in scopes.into_iter().flatten() {
        let _ = writeln!(
            html,
            "<p>Needs an API key with the scope <code>{}</code>, if the server has keys.</p>",
            prose(scope)
        );
    }
    let parameters = operation["parameters"].as_array();
    let parameters: Vec<Row> = parameters.into_iter().flatten().map(parameter).collect();
    table(html, ["parameter", "", ""], parameters);
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    if !body.is_null() {
        let _ = writeln!(html, "<p>Body: {}</p>", kind(body));
    }
    let responses = operation["responses"].as_object();
    let responses = responses.into_iter().flatten().map(response);
    table(html, ["answer", "", ""], responses.collect());
    *html += "</section>\n";
}

/// Three cells of HTML.
type Row = [String; 3];

fn parameter(parameter: &Value) -> Row {
    let name = parameter["name"].as_str().unwrap_or_default();
    let place = parameter["in"].as_str().unwrap_or_default();
    [
        format!("<code>{}</code> <small>{place}</small>", escaped(name)),
        kind(&parameter["schema"]),
        prose(&parameter["description"]),
    ]
}

fn response((status, response): (&String, &Value)) -> Row {
    let content = response["content"].as_object();
    let kinds = content.into_iter().flatten().map(|(media, content)| {
        let media = escaped(media);
        format!("<code>{media}</code> {}", kind(&content["schema"]))
    });
    [
        format!("<code>{}</code>", escaped(status)),
        kinds.collect::<Vec<_>>().join("<br>"),
        prose(&response["description"]),
    ]
}

fn table(html: &mut String, heads: [&str; 3], rows: Vec<Row>) {
    if rows.is_empty() {
        return;
    }
    let heads = heads.map(|head| format!("<th>{head}</th>")).concat();
    let _ = writeln!(html, "<table><tr>{heads}</tr>");
    for row in rows {
        let cells = row.map(|cell| format!("<td>{cell}</td>")).concat();
        let _ = writeln!(html, "<tr>{cells}</tr>");
    }
    *html += "</table>\n";
}

fn document(html: &mut String, name: &str, schema: &Value) {
    let name = escaped(name);
    let _ = writeln!(
        html,
        "<section id=\"{name}\"><h3>{name}</h3><p>{}</p>",
        prose(&schema["description"])
    );
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut members = Vec::new();
    let parts = schema["allOf"].as_array().into_iter().flatten();
    for part in std::iter::once(schema).chain(parts) {
        if part["$ref"].is_string() {
            let _ = writeln!(html, "<p>With all that {} has.</p>", kind(part));
        }
        let properties = part["properties"].as_object().into_iter().flatten();
        members.extend(properties.map(|(member, schema)| {
            let mark = match required.contains(&member.as_str()) {
                true => "",
                false => " <small>optional</small>",
            };
            [
                format!("<code>{}</code>{mark}", escaped(member)),
                kind(schema),
                prose(&schema["description"]),
            ]
        }));
    }
    table(html, ["member", "", ""], members);
    *html += "</section>\n";
}

/// What a schema lets through, in a few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str() {
        let name = escaped(name.rsplit('/').next().unwrap_or_default());
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    for members in ["oneOf", "anyOf", "allOf"] {
        if let Some(members) = schema[members].as_array() {
            return members.iter().map(kind).collect::<Vec<_>>().join(" or ");
        }
    }
    let names: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => vec!["any"],
    };
    let names = names.into_iter().map(|name| match name {
        "array" => format!("list of {}", kind(&schema["items"])),
        name => escaped(name),
    });
    names.collect::<Vec<_>>().join(" or ")
}

/// Text with what is between backticks as code.
fn prose(text: &Value) -> String {
    let text = escaped(text.as_str().unwrap_or_default());
    let mut parts = text.split('`');
    let mut html = parts.next().unwrap_or_default().to_owned();
    for (index, part) in parts.enumerate() {
        html += if index % 2 == 0 { "<code>" } else { "</code>" };
        html += part;
    }
    html.replace("\n\n", "<br>")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_description_says_is_never_taken_for_html() {
        let description = json!({
            "info": {"description": "a <script> & `b<c`"},
            "paths": {"/x/{id}": {"get": {"summary": "\"<img>\"", "responses": {}}}},
        });
        let page = page(&description);
        assert!(
            page.contains("a &lt;script&gt; &amp; <code>b&lt;c</code>"),
            "{page}"
        );
        assert!(page.contains("&quot;&lt;img&gt;&quot;"), "{page}");
        assert!(page.contains("href=\"#get-x--id-\""), "{page}");
        assert!(page.contains("id=\"get-x--id-\""), "{page}");
    }
}
