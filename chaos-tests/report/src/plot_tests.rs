//! Tests of plots.

use super::*;
use crate::machine::Machine;

fn run(rows: Vec<Row>) -> Run {
    let machine = Machine {
        commit: "abc1234".to_owned(),
        date: "2026-01-02T03:04:05Z".to_owned(),
        kernel: "6.18.0".to_owned(),
        cores: 2,
        floor: Some(2.13),
        load: String::new(),
    };
    Run { group: "host".to_owned(), machine, note: String::new(), rows }
}

#[test]
fn a_run_becomes_a_picture() {
    let rows = vec![
        Row::at_most("create & start", "ms", &[10.0], 100.0)
            .docker(1000.0)
            .docker_here(Some(100.0)),
        Row::at_least("writes", "/s", &[2500.0], 5000.0),
        Row::told("floor", "ms", &[2.13]),
        Row::at_most("elections", "", &[0.0], 0.0),
    ];
    let wanted = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 154" width="960" height="154" role="img" aria-labelledby="title about" font-family="system-ui, sans-serif" font-size="12">
<title id="title">Shoal, host: share of each budget</title>
<desc id="about">2026-01-02T03:04:05Z, commit abc1234, Linux 6.18.0, 2 cores, floor 2.13 ms</desc>
<rect width="960" height="154" fill="#ffffff"/>
<text x="12.0" y="20.0" text-anchor="start" fill="#222222" font-size="15" font-weight="bold">host</text>
<text x="12.0" y="38.0" text-anchor="start" fill="#222222">2026-01-02T03:04:05Z, commit abc1234, Linux 6.18.0, 2 cores, floor 2.13 ms</text>
<line x1="370.0" y1="58.0" x2="370.0" y2="112.0" stroke="#d8d8d8" stroke-width="1"/>
<text x="370.0" y="125.0" text-anchor="middle" fill="#222222" font-size="10">1/100</text>
<line x1="457.5" y1="58.0" x2="457.5" y2="112.0" stroke="#d8d8d8" stroke-width="1"/>
<text x="457.5" y="125.0" text-anchor="middle" fill="#222222" font-size="10">1/10</text>
<line x1="545.0" y1="58.0" x2="545.0" y2="112.0" stroke="#222222" stroke-width="2" stroke-dasharray="5 3"/>
<text x="545.0" y="125.0" text-anchor="middle" fill="#222222" font-size="10">budget</text>
<line x1="632.5" y1="58.0" x2="632.5" y2="112.0" stroke="#d8d8d8" stroke-width="1"/>
<text x="632.5" y="125.0" text-anchor="middle" fill="#222222" font-size="10">10 ×</text>
<line x1="720.0" y1="58.0" x2="720.0" y2="112.0" stroke="#d8d8d8" stroke-width="1"/>
<text x="720.0" y="125.0" text-anchor="middle" fill="#222222" font-size="10">100 ×</text>
<text x="362.0" y="78.0" text-anchor="end" fill="#222222">create &amp; start</text>
<rect x="370.0" y="67.0" width="87.5" height="14" fill="#0072b2"/>
<path d="M627.5 74.0 L632.5 69.0 L637.5 74.0 L632.5 79.0 Z" fill="#222222" stroke="#ffffff"/>
<circle cx="545.0" cy="74.0" r="5" fill="#ffffff" stroke="#222222" stroke-width="2"/>
<text x="734.0" y="78.0" text-anchor="start" fill="#222222">10 ms of 100 ms</text>
<text x="362.0" y="102.0" text-anchor="end" fill="#222222">writes</text>
<rect x="370.0" y="91.0" width="201.3" height="14" fill="#d55e00"/>
<text x="734.0" y="102.0" text-anchor="start" fill="#222222" font-weight="bold">2,500 /s of 5,000 /s, missed</text>
<text x="12.0" y="144.0" text-anchor="start" fill="#222222" font-size="10">shorter is better, log scale</text>
<path d="M365.0 140.5 L370.0 135.5 L375.0 140.5 L370.0 145.5 Z" fill="#222222" stroke="#ffffff"/>
<text x="380.0" y="144.0" text-anchor="start" fill="#222222" font-size="10">Docker 29.7, quiet machine, another run</text>
<circle cx="600.0" cy="140.5" r="5" fill="#ffffff" stroke="#222222" stroke-width="2"/>
<text x="610.0" y="144.0" text-anchor="start" fill="#222222" font-size="10">Docker 20.10 (Debian), same run</text>
</svg>
"##;
    assert_eq!(plot(&run(rows)).unwrap(), wanted);
}

#[test]
fn rows_without_a_budget_make_no_picture() {
    assert_eq!(plot(&run(vec![Row::told("floor", "ms", &[2.13])])), None);
    assert_eq!(plot(&run(Vec::new())), None);
}

#[test]
fn every_bar_is_seen() {
    // As small as the least power of ten, or a little less: never behind the left edge.
    for figure in [0.1, 0.0999, 1e-9, 1.0, 1e9] {
        let rows = [Row::at_most("a", "ms", &[figure], 1.0)];
        let bars: Vec<_> = rows.iter().filter_map(Bar::of).collect();
        let place = Scale::of(&bars).place(bars[0].share);
        assert!(place > LEFT && place < RIGHT, "{figure}: {place}");
    }
}
