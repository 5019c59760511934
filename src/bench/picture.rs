//! Curves side by side, as SVG.

use plotters::prelude::*;

use super::numbers::short;

/// A chart with a curve for each name. The points lie at equal distances, each
/// over its tick; the ordinate begins at zero.
pub struct Panel {
    /// What stands above it.
    pub title: String,
    /// What stands below the points.
    pub ticks: Vec<String>,
    /// The curves, by name; some may lack points.
    pub curves: Vec<(String, Vec<Option<f64>>)>,
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
        let highest = panel.curves.iter().flat_map(|(_, curve)| curve.iter().flatten());
        let highest = highest.copied().fold(1.0, f64::max) * 1.1;
        let last = panel.ticks.len().saturating_sub(1) as f64;
        let tick = |x: &f64| match panel.ticks.get(x.round() as usize) {
            Some(text) if (x - x.round()).abs() < 0.01 => text.clone(),
            // The mesh has lines between the points, too.
            _ => String::new(),
        };
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .caption(&panel.title, ("sans-serif", 15))
            .x_label_area_size(30)
            .y_label_area_size(50)
            .build_cartesian_2d(-0.2..last + 0.2, 0.0..highest)?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh().x_labels(2 * panel.ticks.len()).x_label_formatter(&tick);
        mesh.y_labels(6).y_label_formatter(&|y| short(*y)).draw()?;
        for ((name, curve), colour) in panel.curves.iter().zip(COLOURS.iter().cycle()) {
            let points = (0..).zip(curve).filter_map(|(x, y)| Some((f64::from(x), (*y)?)));
            let line = LineSeries::new(points, colour.stroke_width(2)).point_size(3);
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
