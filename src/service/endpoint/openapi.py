"""The description of the endpoint, with the columns of the model that is served."""

import html
import json
from typing import Any

from src.service.endpoint.load import Served

TYPES: dict[str, Any] = {
    "number": {"type": ["number", "null"]},
    "boolean": {"type": ["boolean", "null"]},
    "date": {"type": ["string", "null"]},
}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}, "field": {}, "row": {}, "value": {}, "allowed": {}},
}


def describe(served: Served, base: dict[str, Any]) -> dict[str, Any]:
    """Add the paths of predictions to an OpenAPI description."""
    predictor = served.predictor
    properties: dict[str, Any] = {}
    for name in predictor.names:
        declared = dict(predictor.columns[name])
        of_kind = TYPES.get(declared["kind"], {"type": ["string", "number", "boolean", "null"]})
        properties[name] = of_kind | {"description": f"kind {declared['kind']}"}
    row = {"type": "object", "properties": properties, "required": predictor.names}
    columns: dict[str, Any] = {"type": "object", "required": predictor.names}
    columns["properties"] = {name: {"type": "array", "items": each} for name, each in properties.items()}
    rows = {"type": "array", "minItems": 1, "items": row}

    def form(name: str, schema: Any) -> dict[str, Any]:
        return {"type": "object", "required": [name], "properties": {name: schema}}

    split = {
        "type": "object",
        "required": ["columns", "data"],
        "properties": {"columns": {"type": "array"}, "data": {"type": "array", "items": {"type": "array"}}},
    }
    json_forms = [row, rows, form("records", rows), form("columns", columns)]
    json_forms += [form("dataframe_records", rows), form("dataframe_split", split)]
    json_forms += [form("inputs", {}), form("instances", {})]
    label = {"type": ["string", "number", "boolean"]}
    answer: dict[str, Any] = {"type": "object", "properties": {"prediction": label}, "required": ["prediction"]}
    if predictor.classes is not None:
        answer["properties"]["probabilities"] = {"type": "object", "additionalProperties": {"type": "number"}}

    def operation(summary: str, result: Any) -> dict[str, Any]:
        error = {"content": {"application/json": {"schema": ERROR}}}
        statuses = {"400": "The body is not JSON", "401": "The key is missing or wrong", "408": "Too slow",
                    "413": "Too large", "415": "Unknown Content-Type", "422": "A column or value is wrong",
                    "503": "Too many requests wait; try again after Retry-After"}  # fmt: skip
        example = {"records": [served.example_row]}
        return {
            "summary": summary,
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": {"anyOf": json_forms}, "example": example},
                    "text/csv": {"schema": {"type": "string"}},
                    "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
                },
            },
            "responses": {
                "200": {"description": "Predictions", "content": {"application/json": {"schema": result}}},
                **{status: {"description": text, **error} for status, text in statuses.items()},
            },
        }

    predictions = {
        "type": "object",
        "required": ["predictions", "model", "id"],
        "properties": {
            "predictions": {"type": "array", "items": answer},
            "model": {"type": "string"},
            "id": {"type": "string"},
        },
    }
    labels = form("predictions", {"type": "array", "items": label})
    paths = dict(base.get("paths", {}))
    paths["/predict"] = {"post": operation("Predict rows", predictions)}
    paths["/invocations"] = {"post": operation("Predict rows in the protocol of MLflow", labels)}
    return base | {"paths": paths, "info": base["info"] | {"title": f"Predictions of {served.label}"}}


def render_page(served: Served) -> str:
    """Return a page about the endpoint that needs no network."""
    columns = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(str(served.predictor.columns[name]['kind']))}</td></tr>"
        for name in served.predictor.names
    )
    example = json.dumps({"records": [served.example_row]}, indent=2, ensure_ascii=False)
    about = ", ".join(f"{name} {served.about[name]}" for name in ("tag", "commit") if served.about.get(name))
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(served.label)}</title>
<meta name="viewport" content="width=device-width">
<style>body{{font:16px/1.5 sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem;
overflow-wrap:anywhere}}h1,h2{{line-height:1.2}}td,th{{text-align:left;vertical-align:top;
padding:.2rem 1rem .2rem 0}}td+td{{min-width:5rem}}
pre,textarea{{background:#f4f4f4;border:1px solid #ccc;padding:1rem;width:100%;box-sizing:border-box;
font:14px/1.4 monospace;white-space:pre-wrap}}pre:empty{{display:none}}button{{font:inherit;padding:.3rem 1rem}}</style>
<h1>{html.escape(served.label)}</h1>
<p>{html.escape(about)}</p>
<p>POST rows to <code>/predict</code> as JSON, CSV or Parquet. The <a href="openapi.json">OpenAPI description</a> lists
all paths and answers.</p>
<h2>Columns</h2><table><tr><th>name</th><th>kind</th></tr>{columns}</table>
<h2>Try it</h2><textarea id="body" rows="{min(len(example.splitlines()), 25)}" aria-label="body of the request">
{html.escape(example)}</textarea>
<p><button id="send">Predict</button></p><pre id="answer"></pre>
<script>
document.getElementById("send").onclick = async () => {{
  const body = document.getElementById("body").value, shown = document.getElementById("answer");
  try {{
    const answer = await fetch("predict", {{method: "POST", headers: {{"Content-Type": "application/json"}}, body}});
    shown.textContent = JSON.stringify(await answer.json(), null, 2);
  }} catch (error) {{
    shown.textContent = "The endpoint does not answer: " + error.message;
  }}
}};
</script></html>"""
