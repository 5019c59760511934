//! Curves side by side, as SVG.

use plotters::prelude::*;

/// A chart with a curve for each name; the abscissa is logarithmic, the
/// ordinate begins at zero.
pub struct Panel {
    /// What stands above it.
    pub title: String,
    /// The curves, by name.
    pub curves: Vec<(String, Vec<(f64, f64)>)>,
}

const COLOURS: [RGBColor; 3] =
    [RGBColor(31, 119, 180), RGBColor(44, 160, 44), RGBColor(214, 39, 40)];
const PANEL: (u32, u32) = (420, 320);

/// Draws the panels, two in a row.
pub fn draw(panels: &[Panel]) -> Result<String, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    let (columns, rows) = (panels.len().clamp(1, 2), panels.len().div_ceil(2).max(1));
    let size = (PANEL.0 * columns as u32, PANEL.1 * rows as u32);
    let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, panel) in root.split_evenly((rows, columns)).iter().zip(panels) {
        let points = || panel.curves.iter().flat_map(|(_, curve)| curve);
        let xs = || points().map(|(x, _)| *x);
        let (least, most) = (xs().fold(f64::INFINITY, f64::min), xs().fold(1.0, f64::max));
        let highest = points().map(|(_, y)| *y).fold(1.0, f64::max) * 1.1;
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .caption(&panel.title, ("sans-serif", 15))
            .x_label_area_size(30)
            .y_label_area_size(50)
            .build_cartesian_2d((least / 1.1..most * 1.1).log_scale(), 0.0..highest)?;
        chart.configure_mesh().x_labels(6).y_labels(6).draw()?;
        for ((name, curve), colour) in panel.curves.iter().zip(COLOURS.iter().cycle()) {
            let line = LineSeries::new(curve.iter().copied(), colour.stroke_width(2)).point_size(3);
            let legend = move |(x, y)| PathElement::new([(x, y), (x + 15, y)], colour);
            chart.draw_series(line)?.label(name).legend(legend);
        }
        let mut labels = chart.configure_series_labels();
        labels.background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.4)).draw()?;
    }
    root.present()?;
    drop(root);
    Ok(svg)
}
