//! The time of each request, as a picture.

use std::time::Duration;

use plotters::prelude::*;

use super::{Asked, Ending, Mark, Sample};

/// Why there is no picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the plot cannot be drawn: {0}")]
pub struct PlotError(String);

/// The kinds of request that have a colour each.
const SERIES: [(&str, RGBColor); 4] = [
    ("put", RGBColor(31, 119, 180)),
    ("get", RGBColor(44, 160, 44)),
    ("put not done", RGBColor(214, 39, 40)),
    ("get not answered", RGBColor(255, 127, 14)),
];

const SIZE: (u32, u32) = (1000, 500);

/// Draws an SVG: to the right when a request began, upwards how long it took,
/// and a line for each thing that happened to a node.
pub fn plot(title: &str, samples: &[Sample], marks: &[Mark]) -> Result<String, PlotError> {
    let mut svg = String::new();
    draw(&mut svg, title, samples, marks).map_err(|error| PlotError(error.to_string()))?;
    Ok(svg)
}

fn draw(
    svg: &mut String,
    title: &str,
    samples: &[Sample],
    marks: &[Mark],
) -> Result<(), Box<dyn std::error::Error>> {
    let ends = samples.iter().map(|sample| sample.began + sample.took);
    let seconds = ends.max().unwrap_or_default().as_secs_f64().max(0.001);
    let took = samples.iter().map(|sample| milliseconds(sample.took));
    let (lowest, highest) =
        took.fold((1.0, 1.0), |(low, high): (f64, f64), each| (low.min(each), high.max(each)));
    let (lowest, highest) = (lowest.max(0.001) / 1.5, highest * 1.5);
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(10)
        .caption(title, ("sans-serif", 16))
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..seconds, (lowest..highest).log_scale())?;
    chart.configure_mesh().x_desc("seconds").y_desc("milliseconds").draw()?;
    for Mark { at, what } in marks {
        let at = at.as_secs_f64();
        let line = [(at, lowest), (at, highest)];
        chart.draw_series([PathElement::new(line, BLACK.mix(0.4))])?;
        let text = Text::new(what.clone(), (at, highest / 1.1), ("sans-serif", 11));
        chart.draw_series([text])?;
    }
    for (series, (name, colour)) in SERIES.into_iter().enumerate() {
        let of_series = samples.iter().filter(|sample| series_of(sample) == series);
        let points: Vec<_> = of_series.map(point).collect();
        if points.is_empty() {
            continue;
        }
        let dots = points.into_iter().map(|at| Circle::new(at, 2, colour.filled()));
        let legend = move |(x, y)| Circle::new((x + 10, y), 3, colour.filled());
        chart.draw_series(dots)?.label(name).legend(legend);
    }
    let mut labels = chart.configure_series_labels();
    labels
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.4))
        .draw()?;
    root.present()?;
    Ok(())
}

/// Which of [`SERIES`] it belongs to.
fn series_of(sample: &Sample) -> usize {
    match (sample.asked, sample.ending) {
        (Asked::Put, Ending::Succeeded) => 0,
        (Asked::Get, Ending::Succeeded | Ending::Absent) => 1,
        (
            Asked::Put,
            Ending::Absent
            | Ending::UnknownError
            | Ending::ConnectionError
            | Ending::FailedAfterManyAttempts,
        ) => 2,
        (
            Asked::Get,
            Ending::UnknownError | Ending::ConnectionError | Ending::FailedAfterManyAttempts,
        ) => 3,
    }
}

fn point(sample: &Sample) -> (f64, f64) {
    (sample.began.as_secs_f64(), milliseconds(sample.took).max(0.001))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_a_dot_and_each_mark_a_line_with_words() {
        let sample = |asked, ending| Sample {
            asked,
            ending,
            began: Duration::from_millis(10),
            took: Duration::from_millis(3),
        };
        let samples = [
            sample(Asked::Put, Ending::Succeeded),
            sample(Asked::Put, Ending::UnknownError),
            sample(Asked::Get, Ending::Absent),
        ];
        let marks = [Mark { at: Duration::from_millis(11), what: "killed p2".to_owned() }];
        let svg = plot("a title", &samples, &marks).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        // A dot each, and one more in the legend.
        assert_eq!(svg.matches("<circle").count(), 2 * samples.len(), "{svg}");
        for text in ["a title", "killed p2", "put not done", "milliseconds"] {
            assert!(svg.contains(text), "{text} is not in: {svg}");
        }
    }

    #[test]
    fn nothing_makes_an_empty_picture() {
        assert_eq!(plot("none", &[], &[]).unwrap().matches("<circle").count(), 0);
    }
}
