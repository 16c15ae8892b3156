"""The looks of the backtest's page, and its one script: sorting and finding. Constants only."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--ink:#1a1d21;--quiet:#5a626d;--paper:#fff;--line:#d9dde3;
--ours:#b3261e;--peer:#2f5d8a;--shade:#f4f6f8}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--quiet:#a3abb5;--paper:#15181c;
--line:#363c44;--ours:#ff8a80;--peer:#8ab8e6;--shade:#1d2126}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:76rem;margin:0 auto;padding:1.5rem 1rem 3rem}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .5rem;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:2rem 0 .5rem}
.lead{font-size:1.1rem;max-width:60rem;margin:0 0 1rem;overflow-wrap:anywhere}
figure{margin:0}figcaption,footer{color:var(--quiet);font-size:.9rem}
footer{margin-top:2rem}
.chart{width:100%;max-width:60rem;height:auto;display:block}
.grid{stroke:var(--line);fill:none}
.tick{fill:var(--quiet);font-size:12px;text-anchor:middle}.side{text-anchor:end}
.axis{fill:var(--ink);font-size:13px;text-anchor:middle}
.curve{fill:none;stroke:var(--ours);stroke-width:2}.knob{fill:var(--ours)}
.ours circle{fill:var(--ours)}.ours text{fill:var(--ours);font-weight:700}
.peer circle{fill:var(--peer)}.peer text{fill:var(--peer)}
svg text{font-family:inherit}g text{font-size:12px}
.wide{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.9rem}
th,td{padding:.3rem .6rem;text-align:left;border-bottom:1px solid var(--line);
vertical-align:top;max-width:26rem;overflow-wrap:break-word}
th{background:var(--shade);font-weight:600}
td:first-child,th:first-child{max-width:20rem}
.figure{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
th button{all:unset;cursor:pointer}th button:focus-visible{outline:2px solid var(--peer)}
th[aria-sort=ascending] button::after{content:" \\25b2"}
th[aria-sort=descending] button::after{content:" \\25bc"}
pre{background:var(--shade);padding:.75rem;overflow-x:auto;white-space:pre-wrap;
overflow-wrap:anywhere}
input{font:inherit;padding:.2rem .4rem}
@media print{.wide{overflow:visible}input,label{display:none}table{font-size:.7rem}}
"""

SCRIPT = """
"use strict";
const figure=text=>{const found=text.replace(/,/g,"").match(/^-?[0-9.]+/);
return found?parseFloat(found[0]):null};
document.querySelectorAll("table.sorted").forEach(table=>{
const heads=[...table.tHead.rows[0].cells],body=table.tBodies[0];
heads.forEach((head,at)=>{const button=document.createElement("button");
button.textContent=head.textContent;head.replaceChildren(button);
button.addEventListener("click",()=>{
const down=head.getAttribute("aria-sort")==="ascending";
heads.forEach(other=>other.removeAttribute("aria-sort"));
head.setAttribute("aria-sort",down?"descending":"ascending");
const rows=[...body.rows];
rows.sort((a,b)=>{const x=a.cells[at].textContent,y=b.cells[at].textContent;
const p=figure(x),q=figure(y);
const order=p!==null&&q!==null?p-q:p!==null?-1:q!==null?1:x.localeCompare(y);
return down?-order:order});
body.append(...rows)})})});
const wanted=document.getElementById("wanted"),table=document.getElementById("workloads");
if(wanted&&table){wanted.addEventListener("input",()=>{
const part=wanted.value.toLowerCase();
for(const row of table.tBodies[0].rows){
row.hidden=!row.cells[0].textContent.toLowerCase().includes(part)}})}
"""
