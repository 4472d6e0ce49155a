//! The plot: a bar for the median of the rounds, and a whisker from the lowest to the highest.

use std::fmt::Write as _;

use super::model::Report;
use super::report::{FIGURES, Spread, label, spread};
use crate::tools::cost::thousands;

const WIDTH: f64 = 760.0;
/// Where the bars begin.
const LEFT: f64 = 250.0;
/// How long the longest whisker is.
const LONG: f64 = 420.0;
const ROW: f64 = 26.0;
const BAR: f64 = 16.0;
const TITLE: f64 = 34.0;

/// Colours for a light page and a dark one.
const STYLE: &str = "text{font:13px sans-serif;fill:#333}.title{font-weight:bold}.bar{fill:#4c78a8}\
                     .whisker{stroke:#e45756;stroke-width:2}\
                     @media(prefers-color-scheme:dark){text{fill:#ddd}.bar{fill:#6d9dd1}}";

/// The plot of all rounds.
pub fn svg(report: &Report) -> String {
    let mut body = String::new();
    let mut y = 0.0;
    for (title, figure) in FIGURES {
        let rows: Vec<(String, Spread)> =
            report.rows.iter().filter_map(|row| Some((label(report, row), spread(row, figure)?))).collect();
        let Some(most) = rows.iter().map(|(_, all)| all.highest).reduce(f64::max) else { continue };
        y += TITLE;
        let _ = writeln!(body, r#"<text class="title" x="10" y="{:.0}">{title}</text>"#, y - 12.0);
        for (label, all) in rows {
            let at = |value: f64| LEFT + value / most * LONG;
            let (middle, label) = (y + BAR / 2.0, escaped(&label));
            let _ =
                writeln!(body, r#"<text x="{:.0}" y="{:.0}" text-anchor="end">{label}</text>"#, LEFT - 8.0, y + 13.0);
            let _ = writeln!(
                body,
                r#"<rect class="bar" x="{LEFT}" y="{y:.0}" width="{:.1}" height="{BAR}"/>"#,
                at(all.median) - LEFT
            );
            let _ = writeln!(
                body,
                r#"<line class="whisker" x1="{:.1}" y1="{middle:.0}" x2="{:.1}" y2="{middle:.0}"/>"#,
                at(all.lowest),
                at(all.highest)
            );
            let median = thousands(all.median.round() as i64);
            let _ = writeln!(body, r#"<text x="{:.0}" y="{:.0}">{median}</text>"#, at(all.highest) + 8.0, y + 13.0);
            y += ROW;
        }
    }
    let height = y + 10.0;
    let rounds = report.rounds;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\">\n\
         <title>Medians of {rounds} rounds, with the lowest and the highest</title>\n<style>{STYLE}</style>\n{body}</svg>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::example;
    use super::*;

    #[test]
    fn each_row_has_a_bar_of_its_median_on_one_scale() {
        let text = svg(&example());
        // 600 is the longest whisker; the medians are 200 and 300.
        let widths: Vec<&str> =
            text.split("<rect").skip(1).filter_map(|rest| rest.split("width=\"").nth(1)?.split('"').next()).collect();
        assert_eq!(widths, ["140.0", "210.0", "140.0", "210.0"]);
        assert!(text.contains("fast &lt;1&gt;") && !text.contains("<1>"));
        assert_eq!(text.matches("whisker\" x1").count(), 4);
    }
}
