"""The look of the web page: one style sheet, no fonts or files from elsewhere."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --raised: #f7f8fa; --ink: #1b1e23; --muted: #59616d; --rule: #dfe3e8;
  --faint: #eef0f3; --pass: #17693a; --pass-bg: #e6f4ea; --fail: #b3261e; --fail-bg: #fdebe9;
  --inconclusive: #7c5200; --inconclusive-bg: #fdf2d8;
  --c1: #0072b2; --c2: #d55e00; --c3: #009e73; --c4: #cc79a7; --c5: #56b4e9; --c6: #e69f00;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans",
    "Liberation Sans", Arial, sans-serif;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --raised: #1b1f25; --ink: #e4e7eb; --muted: #9da6b2; --rule: #2f353d;
    --faint: #242930; --pass: #6fd391; --pass-bg: #14301f; --fail: #ff9a90; --fail-bg: #3c1b19;
    --inconclusive: #f1c15c; --inconclusive-bg: #362a0d;
    --c1: #4ba6e0; --c2: #ff8b4d; --c3: #35c49c; --c4: #e59cc3; --c5: #9ad4f5; --c6: #f2b632;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 400 1rem/1.55 var(--sans); font-variant-numeric: tabular-nums lining-nums;
  overflow-wrap: break-word;
}
main { max-width: 66rem; margin: 0 auto; padding: 3rem 1.5rem 4rem; }
h1, h2 { line-height: 1.25; font-weight: 600; text-wrap: balance; }
h1 { font-size: 1.9rem; letter-spacing: -0.012em; margin: 0.2rem 0 0; }
h2 { font-size: 1.2rem; margin: 3rem 0 0.9rem; }
p { margin: 0; }
a { color: inherit; text-underline-offset: 0.15em; text-decoration-thickness: 1px; }
code, pre, .mono { font-family: var(--mono); font-size: 0.86em; }
svg.icon { width: 1em; height: 1em; flex: none; }
.kicker, .facts { color: var(--muted); font-size: 0.9rem; }
.facts { margin-top: 0.6rem; display: flex; flex-wrap: wrap; gap: 0.1rem 1.4rem; }
.facts b { color: var(--ink); font-weight: 500; }
sub { line-height: 0; }
.sub { display: block; color: var(--muted); font-size: 0.84rem; font-weight: 400; }

.overall {
  display: flex; align-items: center; gap: 1.1rem; margin-top: 1.6rem; padding: 1rem 1.25rem;
  border-radius: 8px; border-left: 5px solid currentColor;
}
.overall .icon { font-size: 2.1rem; }
.overall .word { font-size: 1.3rem; font-weight: 650; line-height: 1.3; }
.overall .meaning { color: var(--ink); }
.pass { color: var(--pass); background: var(--pass-bg); }
.fail { color: var(--fail); background: var(--fail-bg); }
.inconclusive { color: var(--inconclusive); background: var(--inconclusive-bg); }
.badge {
  display: inline-flex; align-items: center; gap: 0.4em; white-space: nowrap;
  padding: 0.14rem 0.65rem 0.14rem 0.5rem; border-radius: 99px; font-size: 0.86rem;
  font-weight: 600;
}

table { width: 100%; border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: 0.7rem 1rem 0 0; font-weight: 400; }
th:last-child, td:last-child { padding-right: 0; }
thead th {
  color: var(--muted); font-size: 0.84rem; padding-bottom: 0.45rem; padding-top: 0;
  border-bottom: 1px solid var(--ink);
}
tbody th { font-weight: 600; }
tbody.check, .plain tbody tr { border-bottom: 1px solid var(--rule); }
.checks col.title, .checks col.value { width: 31%; }
.checks col.limit { width: 23%; }
.plain td, .plain tbody th { padding-bottom: 0.7rem; }
tr.more > td { padding: 0.15rem 0 0.75rem; }
:target { scroll-margin-top: 1rem; }
tbody:target {
  background: var(--raised);
  box-shadow: -0.7rem 0 0 var(--raised), 0.7rem 0 0 var(--raised);
}

summary { cursor: pointer; border-radius: 4px; }
summary:focus-visible, a:focus-visible { outline: 2px solid var(--c1); outline-offset: 2px; }
tr.more summary {
  color: var(--muted); font-size: 0.92rem; padding-left: 1.1rem; text-indent: -1.1rem;
  list-style: none;
}
tr.more summary::-webkit-details-marker { display: none; }
tr.more summary::before {
  content: ""; display: inline-block; width: 0.36rem; height: 0.36rem;
  margin: 0 0.62rem 0.14rem 0.12rem;
  border: solid currentColor; border-width: 0 1.6px 1.6px 0; transform: rotate(-45deg);
}
tr.more details[open] > summary::before { transform: rotate(45deg); margin-bottom: 0.2rem; }
tr.more summary:hover { color: var(--ink); }
.inside {
  margin: 0.7rem 0 0.4rem 1.1rem; padding: 0.9rem 1.1rem; border-radius: 6px;
  background: var(--raised); font-size: 0.92rem;
}
dl {
  margin: 0; display: grid; gap: 0.45rem 1.4rem;
  grid-template-columns: minmax(7.5rem, max-content) minmax(0, 1fr);
}
dt { color: var(--muted); overflow-wrap: anywhere; }
dd { margin: 0; overflow-wrap: anywhere; }
dd > dl { gap: 0.2rem 1.4rem; grid-template-columns: fit-content(16rem) minmax(0, 1fr); }
dd > dl, dd > .scroll { font-size: 0.96em; }
.scroll { overflow-x: auto; }
.grid { width: auto; }
.grid tr > * { padding: 0.12rem 0 0.12rem 1.8rem; text-align: right; white-space: nowrap; }
.grid tr > :first-child { padding-left: 0; }
.grid thead th { border-bottom: 1px solid var(--rule); font-size: 1em; }
.grid tr > .text { text-align: left; }

.figures {
  display: grid; gap: 2.2rem 2.4rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr));
}
figure { margin: 0; max-width: 44rem; break-inside: avoid; }
figure svg { display: block; width: 100%; height: auto; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
figure svg text { font-family: var(--sans); font-variant-numeric: tabular-nums; }
figcaption { color: var(--muted); font-size: 0.9rem; margin-top: 0.5rem; }
figcaption b { color: var(--ink); font-weight: 600; }

details.provenance > summary { font-size: 0.95rem; color: var(--muted); }
details.provenance .inside { margin-left: 0; }
footer {
  margin-top: 3rem; padding-top: 0.9rem; border-top: 1px solid var(--rule);
  color: var(--muted); font-size: 0.84rem;
}

@media (max-width: 44rem) {
  main { padding: 1.6rem 1rem 3rem; }
  h1 { font-size: 1.5rem; }
  h2 { margin-top: 2.4rem; }
  .overall { padding: 0.9rem 1rem; gap: 0.9rem; align-items: flex-start; }
  .stack, .stack > tbody { display: block; }
  .stack > thead {
    position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  }
  .stack tbody.check, .stack.plain tbody tr { padding: 0.8rem 0; }
  .stack > tbody > tr {
    display: grid; gap: 0.15rem 1rem; grid-template-columns: minmax(0, 1fr) max-content;
  }
  .stack > tbody > tr > * { padding: 0; grid-column: 1 / -1; }
  .checks > tbody > tr > th { grid-column: 1; }
  .checks > tbody > tr > td.verdict { grid-column: 2; grid-row: 1; }
  .stack td[data-label] { display: grid; grid-template-columns: 5.5rem minmax(0, 1fr); }
  .stack td[data-label]::before { content: attr(data-label); color: var(--muted); }
  .stack td[data-label] > * { grid-column: 2; }
  .checks tr.more { margin-top: 0.45rem; }
  .inside { margin-left: 0; padding: 0.8rem 0.9rem; }
  .inside dl { grid-template-columns: minmax(0, 1fr); gap: 0; }
  .inside dd { margin-bottom: 0.6rem; }
  .inside dd > dl { padding-left: 0.9rem; border-left: 2px solid var(--rule); }
}
@media print {
  @page { margin: 16mm 15mm; }
  html { font-size: 9.5pt; }
  main { max-width: none; padding: 0; }
  h1 { font-size: 17pt; }
  h2 { font-size: 12pt; margin-top: 1.8rem; break-after: avoid; }
  .overall, .badge { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  .overall, tbody.check > tr:first-child, tr, dd { break-inside: avoid; }
  tr.more { break-inside: auto; }
  tbody.check > tr:first-child { break-after: avoid; }
  .inside { padding: 0 0 0 0.2rem; background: none; }
  .figures { grid-template-columns: 1fr 1fr; gap: 1.4rem 1.6rem; }
  details::details-content { content-visibility: visible; display: block; height: auto; }
}
"""
