"""How reports look, on light and on dark screens."""

# c and s colour methods (fill and stroke), k kinds of memory; told apart also by the colour-blind.
STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --edge: #e1e5ea; --text: #1b222c; --muted: #5b6675;
  --track: #eef1f4; --kept: #12a594; --heat: #e08a1e;
  --m0: #3b6fd4; --m1: #e08a1e; --m2: #0f9484; --m3: #8a5cd0; --m4: #c4527f;
  --k0: #8896a8; --k1: #c2cad4; --k2: #5d6b7e; --k3: #c4527f; --k4: #e2b93b; --k5: #8b6f47;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f1318; --card: #171d24; --edge: #2a323c; --text: #e6eaef; --muted: #9aa6b4;
    --track: #212932; --kept: #1fb5a3; --heat: #f0a84a;
    --m0: #6f9df2; --m1: #f0a84a; --m2: #35c0ae; --m3: #b392ec; --m4: #e27ea6;
    --k0: #7c8b9e; --k1: #4d5968; --k2: #a7b3c2; --k3: #e27ea6; --k4: #e6c65c; --k5: #b99a6d;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
main { max-width: 1020px; margin: 0 auto; padding: 40px 20px 64px; }
header { margin-bottom: 24px; }
h1 { margin: 0 0 4px; font-size: 30px; line-height: 1.2; letter-spacing: -0.015em; }
header p { margin: 0; color: var(--muted); }
section {
  margin: 0 0 20px; padding: 22px 26px; background: var(--card);
  border: 1px solid var(--edge); border-radius: 12px;
}
h2 { margin: 0 0 10px; font-size: 19px; line-height: 1.3; letter-spacing: -0.005em; }
p { margin: 0 0 12px; max-width: 76ch; }
img { display: block; width: 100%; height: auto; margin: 0 0 12px; }
p.note { color: var(--muted); font-size: 14px; }
.tokens + .note, dl + .note { margin-top: 14px; }
section > :last-child { margin-bottom: 0; }

.tiles {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px;
  margin: 0 0 18px; padding: 0; list-style: none;
}
.tiles li { padding: 14px 16px; background: var(--track); border-radius: 10px; }
.tiles .label, .tiles .remark { display: block; color: var(--muted); font-size: 13.5px; }
.tiles strong {
  display: block; margin: 2px 0; font-size: 28px; line-height: 1.2; letter-spacing: -0.02em;
  font-variant-numeric: tabular-nums;
}

table { width: 100%; margin: 0 0 20px; border-collapse: collapse; font-size: 14.5px; }
caption { padding: 0 0 6px; text-align: left; font-weight: 600; }
th { font-weight: 400; text-align: left; }
.bars th { width: 216px; padding: 4px 12px 4px 0; }
.bars .track div {
  display: flex; height: 18px; overflow: hidden; background: var(--track); border-radius: 5px;
}
.bars .value {
  width: 150px; padding-left: 14px; text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap;
}
.fill { display: block; height: 100%; }
.wide { overflow-x: auto; }
.facts th, .facts td { padding: 7px 14px 7px 0; border-bottom: 1px solid var(--edge); }
.facts thead th { color: var(--muted); font-size: 13.5px; vertical-align: bottom; }
.facts td, .facts thead th:not(:first-child) { text-align: right; }
.facts td { font-variant-numeric: tabular-nums; white-space: nowrap; }

.legend {
  display: flex; flex-wrap: wrap; gap: 6px 20px; margin: 0 0 12px; padding: 0;
  list-style: none; color: var(--muted); font-size: 13.5px;
}
.legend li { display: flex; align-items: center; gap: 7px; }
.swatch { width: 12px; height: 12px; border-radius: 3px; }
.key { width: 28px; height: 10px; }

.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 16px; }
figure { margin: 0 0 14px; }
figcaption { margin-bottom: 4px; font-size: 14.5px; font-weight: 600; }
figure svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--muted); font-size: 12.5px; font-variant-numeric: tabular-nums; }
svg .axis { fill: var(--text); font-size: 13px; }
.grid { stroke: var(--edge); fill: none; }
.line { fill: none; stroke-width: 2.5; stroke-linejoin: round; }
.dashed { stroke-dasharray: 6 5; }
.dot { stroke: var(--card); stroke-width: 1.5; }
.c0 { background: var(--m0); fill: var(--m0); } .s0 { stroke: var(--m0); }
.c1 { background: var(--m1); fill: var(--m1); } .s1 { stroke: var(--m1); }
.c2 { background: var(--m2); fill: var(--m2); } .s2 { stroke: var(--m2); }
.c3 { background: var(--m3); fill: var(--m3); } .s3 { stroke: var(--m3); }
.c4 { background: var(--m4); fill: var(--m4); } .s4 { stroke: var(--m4); }
.k0 { background: var(--k0); } .k1 { background: var(--k1); } .k2 { background: var(--k2); }
.k3 { background: var(--k3); } .k4 { background: var(--k4); } .k5 { background: var(--k5); }

.tokens {
  padding: 16px 18px; background: var(--track); border-radius: 10px; overflow-wrap: anywhere;
  font: 14px/1.75 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  white-space: pre-wrap;
}
.faint { color: var(--muted); font-style: italic; }
mark.faint { color: var(--text); }
mark, .sample.weak, .sample.strong {
  color: inherit; border-radius: 3px; box-shadow: inset 0 -2px var(--kept);
  background: color-mix(in srgb, var(--kept) calc(14% + 0.46 * var(--strength)), transparent);
}
.sample { padding: 0 3px; font-family: ui-monospace, Menlo, Consolas, monospace; }
.sample.weak { --strength: 0%; } .sample.strong { --strength: 100%; }
.sample.plain, .sample.strong, .sample.weak { color: var(--text); }

.choice {
  display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 0 0 12px; padding: 0; border: 0;
  font-size: 14.5px;
}
.choice legend { float: left; margin-right: 4px; padding: 0; color: var(--muted); }
.heat { margin-bottom: 12px; }
.heat [data-n] {
  --strength: var(--h0); border-radius: 3px; font-weight: 400;
  background: color-mix(in srgb, var(--heat) calc(0.75 * var(--strength)), transparent);
}
body:has(#heat1:checked) .heat [data-n] { --strength: var(--h1); }
body:has(#heat2:checked) .heat [data-n] { --strength: var(--h2); }
.heat b, .sample.kept { box-shadow: inset 0 -3px var(--kept); font-weight: 400; }
.heat [data-n]:hover { outline: 2px solid var(--text); }
.sample { color: var(--text); }
.readout {
  position: sticky; bottom: 0; display: block; margin-bottom: 14px; padding: 10px 18px;
  background: var(--card); border: 1px solid var(--edge); border-radius: 10px; font-size: 14.5px;
  font-variant-numeric: tabular-nums; box-shadow: 0 -2px 12px rgb(0 0 0 / 8%);
}

dl {
  display: grid; grid-template-columns: minmax(120px, 190px) 1fr; gap: 6px 12px; margin: 0;
  font-size: 14.5px;
}
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 640px) {
  section { padding: 18px 16px; }
  .bars th { width: 110px; } .bars .value { width: 96px; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 8px; }
}
@media print { body { background: none; } section { break-inside: avoid; } }
"""
