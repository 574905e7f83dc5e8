"""The report as one HTML file without scripts, styles from elsewhere, or pictures."""

import jinja2

from bench.report.page import Page

_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ page.title }}</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 110rem; padding: 0 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { border-bottom: 1px solid #bbb; padding: .25rem .6rem; text-align: left; vertical-align: top; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.banner { border: 3px solid; font-weight: bold; padding: .6rem; }
dl { display: grid; grid-template-columns: max-content auto; gap: .1rem 1rem; }
dd { margin: 0; overflow-wrap: anywhere; }
</style>
</head>
<body>
<h1>{{ page.title }}</h1>
<p>{{ page.lead }}</p>
{% if page.banner %}<p class="banner" role="alert">!!! {{ page.banner }}</p>
{% endif %}<dl>
{% for name, value in page.heading %}<dt>{{ name }}</dt><dd>{{ value }}</dd>
{% endfor %}</dl>
{% macro grid(content, banner) %}<h2>{{ content.title }}</h2>
<div class="scroll"><table>
<thead><tr>{% for column in content.columns %}
{{- '<th scope="col" class="number">' | safe if column.is_number else '<th scope="col">' | safe -}}
{{ column.title }}</th>{% endfor %}</tr></thead>
<tbody>
{% if banner %}<tr><td class="banner" colspan="{{ content.columns | length }}">!!! {{ banner }}</td></tr>
{% endif %}{% for row in content.rows %}<tr>{% for cell in row %}
{%- if loop.first %}<th scope="row">{{ cell }}</th>
{%- else %}<td{% if content.columns[loop.index0].is_number %} class="number"{% endif %}>{{ cell }}</td>
{%- endif %}
{%- endfor %}</tr>
{% endfor %}</tbody>
</table></div>
{% endmacro %}{% macro listed(pairs) %}{% if pairs %}<ul>
{% for name, value in pairs %}<li><code>{{ name }}</code>: {{ value }}</li>
{% endfor %}</ul>
{% endif %}{% endmacro %}{{ grid(page.results, page.banner) }}{% if page.alarms %}<ul>
{% for line in page.alarms %}<li>{{ line }}</li>
{% endfor %}</ul>
{% endif %}{{ listed(page.reasons) -}}
{{ grid(page.claims, "") }}{{ listed(page.claim_reasons) -}}
<h2>What the verdicts are worth</h2>
<ul>
{% for line in page.worth %}<li>{{ line }}</li>
{% endfor %}</ul>
{% if page.notes %}<h2>Notes</h2>
<ul>
{% for line in page.notes %}<li>{{ line }}</li>
{% endfor %}</ul>
{% endif %}</body>
</html>
"""

_ENVIRONMENT = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)


def html(page: Page) -> str:
    """Return the report as a whole document; every value is escaped."""
    return _ENVIRONMENT.from_string(_TEMPLATE).render(page=page)
