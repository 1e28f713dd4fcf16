//! Charts: drawn by a library, in colours that are the page's own variables, so that light, dark and paper are one chart.

use kuva::backend::svg::SvgBackend;
use kuva::plot::BarPlot;
use kuva::render::layout::{Layout, TickFormat};
use kuva::render::plots::Plot;
use kuva::render::render::render_multiple;
use kuva::render::theme::Theme;

/// The bars of one category.
pub(super) struct Bar {
    /// What stands below or beside it; may be empty.
    pub label: String,
    pub jobs: u64,
    pub dry_runs: u64,
}

/// What a chart shows, in words, for those who do not see it.
pub(super) struct Said<'a> {
    /// A name for it in the page.
    pub id: &'a str,
    pub title: &'a str,
    pub description: &'a str,
}

/// Marks on the axis that say whole numbers: how far apart, and the last.
fn marks(most: u64) -> (u64, u64) {
    const MARKS: u64 = 4;
    let powers = std::iter::successors(Some(1_u64), |power| power.checked_mul(10));
    let mut steps = powers.flat_map(|power| [1, 2, 5].map(|step| power.saturating_mul(step)));
    let step = steps.find(|step| most.div_ceil(*step) <= MARKS).unwrap_or(u64::MAX);
    (step, step.saturating_mul(most.div_ceil(step).max(1)))
}

#[allow(clippy::cast_precision_loss, reason = "of lengths of bars")]
fn float(number: u64) -> f64 {
    number as f64
}

fn theme() -> Theme {
    let quiet = || "currentColor".to_owned();
    Theme {
        background: "none".to_owned(),
        axis_color: "var(--rule)".to_owned(),
        grid_color: "var(--grid)".to_owned(),
        tick_color: "var(--rule)".to_owned(),
        text_color: quiet(),
        ..Theme::light()
    }
}

/// One chart in a size. `class` says on which screens it is shown.
fn drawn(bars: &[Bar], horizontal: bool, said: &Said<'_>, class: &str, (width, height): (f64, f64)) -> String {
    let most = bars.iter().map(|bar| bar.jobs + bar.dry_runs).max().unwrap_or_default();
    let (step, top) = marks(most);
    let mut plot = BarPlot::new().with_width(0.72).with_horizontal(horizontal);
    // The library draws the first at the bottom.
    let order: Box<dyn Iterator<Item = &Bar>> =
        if horizontal { Box::new(bars.iter().rev()) } else { Box::new(bars.iter()) };
    for bar in order {
        let of = [(float(bar.jobs), "var(--jobs)"), (float(bar.dry_runs), "var(--dry)")];
        plot = plot.with_group(bar.label.clone(), of);
    }
    let plots = vec![Plot::Bar(plot.with_stacked())];
    let layout = Layout::auto_from_plots(&plots).with_theme(theme()).with_width(width).with_height(height);
    // Room for the labels of the axes, and no more.
    let layout = layout.with_tick_size(12).with_force_margins_y(8.0, 26.0);
    let layout = if horizontal {
        let layout = layout.with_x_axis_min(0.0).with_x_axis_max(float(top)).with_x_tick_step(float(step));
        layout.with_x_tick_format(TickFormat::Integer)
    } else {
        let layout = layout.with_y_axis_min(0.0).with_y_axis_max(float(top)).with_y_tick_step(float(step));
        layout.with_y_tick_format(TickFormat::Integer)
    };
    let scene = render_multiple(plots, layout);
    let (width, height) = (scene.width, scene.height);
    let inside = inside(&SvgBackend::new().render_scene(&scene));
    let Said { id, title, description } = said;
    let (title, description) = (escaped(title), escaped(description));
    format!(
        "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"{id}-{class}-t {id}-{class}-d\" \
         fill=\"currentColor\"><title id=\"{id}-{class}-t\">{title}</title><desc id=\"{id}-{class}-d\">{description}</desc>\
         {inside}</svg>\n"
    )
}

/// The marks of a picture, without its frame: no comment, no clip path (its name would differ from run to run, and no
/// bar is longer than its axis), and no namespace, which HTML knows by itself.
fn inside(svg: &str) -> String {
    let mut inside = svg.split_once('>').map_or("", |(_, rest)| rest);
    inside = inside.trim_end().trim_end_matches("</svg>");
    let mut kept = String::with_capacity(inside.len());
    let mut rest = inside;
    for (open, close) in [("<!--", "-->"), ("<defs>", "</defs>")] {
        if let Some((before, after)) = rest.split_once(open)
            && let Some((_, after)) = after.split_once(close)
        {
            kept.push_str(before);
            rest = after;
        }
    }
    kept.push_str(rest);
    let Some((before, after)) = kept.split_once(" clip-path=\"") else { return kept };
    let after = after.split_once('"').map_or("", |(_, after)| after);
    format!("{before}{after}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The same chart for wide and for narrow screens; one of them is shown. `label_narrow` says which labels there is room
/// for on a narrow one.
pub(super) fn columns(bars: &[Bar], said: &Said<'_>, label_narrow: impl Fn(usize) -> bool) -> String {
    let narrow: Vec<Bar> = bars
        .iter()
        .enumerate()
        .map(|(number, bar)| Bar {
            label: if label_narrow(number) { bar.label.clone() } else { String::new() },
            ..*bar
        })
        .collect();
    let wide = drawn(bars, false, said, "wide", (640.0, 230.0));
    wide + &drawn(&narrow, false, said, "narrow", (360.0, 200.0))
}

/// Bars that lie, each with its name.
pub(super) fn rows(bars: &[Bar], said: &Said<'_>) -> String {
    let height = 34.0 + 34.0 * float(bars.len() as u64);
    drawn(bars, true, said, "wide", (960.0, height)) + &drawn(bars, true, said, "narrow", (360.0, height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audit_4_marks_are_whole_numbers_and_the_axis_ends_at_one() {
        for (most, step, top) in
            [(0, 1, 1), (1, 1, 1), (4, 1, 4), (5, 2, 6), (9, 5, 10), (17, 5, 20), (4_001, 2_000, 6_000)]
        {
            assert_eq!(marks(most), (step, top), "{most}");
        }
        assert_eq!(marks(u64::MAX).1, u64::MAX);
    }

    #[test]
    fn audit_4_a_chart_is_the_same_whenever_it_is_drawn_and_names_nothing_outside() {
        let bars: Vec<Bar> =
            (1..=31).map(|day| Bar { label: day.to_string(), jobs: day % 5, dry_runs: day % 3 }).collect();
        let said = Said { id: "x", title: "a < b", description: "\"&\"" };
        let chart = columns(&bars, &said, |day| day % 5 == 0);
        assert_eq!(chart, columns(&bars, &said, |day| day % 5 == 0));
        for unwanted in ["http", "url(", "<!--", "clip", "<defs", "<script", "<style", "#"] {
            assert!(!chart.contains(unwanted), "{unwanted}: {chart}");
        }
        assert_eq!(chart.matches("<svg").count(), 2);
        assert_eq!(chart.matches("var(--jobs)").count(), chart.matches("var(--dry)").count());
        assert!(
            chart.contains("<title id=\"x-wide-t\">a &lt; b</title><desc id=\"x-wide-d\">&quot;&amp;&quot;</desc>")
        );
    }
}
