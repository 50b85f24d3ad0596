// The style sheet of the report: light and dark by the reader's setting, light on paper.
#pragma once

namespace livemigrate {

inline constexpr char kReportStyle[] = R"css(
:root{color-scheme:light dark;--page:#f6f6f3;--card:#fff;--ink:#161614;--soft:#5a5954;--rule:#dddcd6;
--one:#2a78d6;--two:#c9541f;--good:#1c7c3c;--warn:#9a6700;--bad:#c5302b}
@media (prefers-color-scheme:dark){:root{--page:#121211;--card:#1c1c1a;--ink:#f2f1ec;--soft:#aaa9a1;
--rule:#363531;--one:#5b9df0;--two:#ee8a5a;--good:#58c27a;--warn:#e0b040;--bad:#f4827c}}
*{box-sizing:border-box}
body{margin:0 auto;padding:24px 20px 48px;max-width:1120px;background:var(--page);color:var(--ink);
font:15px/1.45 system-ui,-apple-system,"Segoe UI",sans-serif}
h1{font-size:26px;line-height:1.2;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:18px;margin:36px 0 12px}
p{margin:0 0 8px}
code{font:13px ui-monospace,Menlo,Consolas,monospace;overflow-wrap:anywhere}
.soft,.none,.ends,.top,th{color:var(--soft)}
.state{display:inline-block;padding:1px 10px;border-radius:11px;border:1px solid currentColor;
font-size:14px;font-weight:600;vertical-align:4px;white-space:nowrap}
.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}
.tiles{display:grid;grid-template-columns:repeat(4,1fr);gap:10px;margin:20px 0}
.tile,.card{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:12px 14px}
.tile b{display:block;font-size:21px;line-height:1.25;font-weight:600;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:13px}
.lanes{display:grid;gap:3px}
.lane{position:relative;height:14px}
.lane i,td.span i{position:absolute;top:0;bottom:0;min-width:2px;border-radius:2px;background:var(--one)}
.lane.jobs i,i.job{background:var(--two)!important}
.lane i{border-right:1px solid var(--card)}
.group{font-size:13px;color:var(--soft);margin:12px 0 4px}
.group:first-child{margin-top:0}
.lane.stages{height:26px}
.lane.stages i{background:var(--rule);font-style:normal;font-size:12px;line-height:26px;padding-left:5px;
overflow:hidden;white-space:nowrap;color:var(--ink)}
.ends{display:flex;justify-content:space-between;gap:16px;font-size:12px;margin-top:4px}
.ends span:last-child{text-align:right}
.charts{display:grid;grid-template-columns:1fr 1fr;gap:12px}
figure{margin:0;background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:12px 14px}
figcaption{font-weight:600;margin-bottom:6px;display:flex;flex-wrap:wrap;gap:4px 16px}
.legend{display:inline-flex;flex-wrap:wrap;gap:2px 12px;font-weight:400;font-size:13px;color:var(--soft)}
.legend i{display:inline-block;width:14px;height:3px;margin-right:5px;vertical-align:4px}
.legend .one{background:var(--one)}.legend .two{background:var(--two)}
svg{display:block;width:100%;height:130px;overflow:visible}
.top{font-size:12px}
.line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round;vector-effect:non-scaling-stroke}
.line.one{stroke:var(--one)}.line.two{stroke:var(--two)}
.grid{stroke:var(--rule);stroke-width:1;vector-effect:non-scaling-stroke;fill:none}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;padding:4px 12px 4px 0;border-bottom:1px solid var(--rule);vertical-align:top}
th{font-weight:500;font-size:13px;white-space:nowrap}
tr:last-child td{border-bottom:0}
td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
td.name{overflow-wrap:anywhere;min-width:180px}
td.text{overflow-wrap:anywhere;min-width:180px;white-space:pre-line}
td.span{position:relative;width:26%;min-width:90px;padding:0}
td.span i{top:7px;bottom:auto;height:12px}
td.found{overflow-wrap:anywhere;min-width:84px}
td.when{white-space:nowrap}
.label{display:none;color:var(--soft)}
.card+.card{margin-top:12px}
summary{cursor:pointer;color:var(--soft);padding:6px 0}
@media (max-width:720px){body{padding:16px 12px 32px;font-size:14px}.charts{grid-template-columns:1fr}
.tiles{grid-template-columns:1fr 1fr}h1{font-size:21px}.tile b{font-size:18px}
.hide{display:none}td.name{min-width:110px}.stack .label{display:inline}th,th.n{white-space:normal}td,th{padding-right:8px}
td.span{width:14%;min-width:48px}
.stack,.stack tbody{display:block}.stack thead{display:none}
.stack tr{display:flex;flex-wrap:wrap;gap:0 12px;padding:6px 0;border-bottom:1px solid var(--rule)}
.stack td,.stack th{border:0;padding:0;min-width:0}.stack td.text{flex:1 0 100%}}
@media print{:root{color-scheme:light;--page:#fff;--card:#fff;--ink:#000;--soft:#444;--rule:#bbb;
--one:#2a78d6;--two:#c9541f;--good:#1c7c3c;--warn:#7a5200;--bad:#a8201c}
body{padding:0;max-width:none;font-size:11px}h2{break-after:avoid}
td.name,td.text{min-width:100px}
figure,.tile,tr,.lane{break-inside:avoid}thead{display:table-header-group}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
)css";

} // namespace livemigrate
