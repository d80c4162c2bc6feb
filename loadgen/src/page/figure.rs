//! One figure: a title, axes with units, marks, a legend and a caption, as HTML with an inline
//! SVG drawn by `plotters`.
//!
//! Colours are names: the drawing library writes one fixed colour per [`Ink`], and the page's
//! style sheet maps exactly these to what suits a light or a dark screen.

use std::fmt::Write;

use plotters::{
    chart::ChartBuilder,
    drawing::{DrawingAreaErrorKind, IntoDrawingArea},
    element::{Circle, PathElement, Rectangle},
    prelude::SVGBackend,
    series::LineSeries,
    style::{Color, IntoFont, RGBColor, ShapeStyle, TextStyle},
};

use super::{
    axis::{Axis, Scale, Unit},
    number::escape,
};

/// Units of the drawing in one pixel of the figure: the library knows whole numbers only, and a
/// curve on whole pixels has visible steps.
const FINE: u32 = 10;

/// Inside of HTML the namespace goes without saying, and a page with no address in it is plainly
/// one that asks nothing of a network.
const NAMESPACE: &str = " xmlns=\"http://www.w3.org/2000/svg\"";

/// Height of a figure, pixels.
const HEIGHT: u32 = 340;

/// Width of a figure of half the page, and of the whole page, pixels.
const WIDTHS: (u32, u32) = (620, 1260);

/// Colours of different runs on one page: more cannot be told apart.
pub const SERIES: usize = 8;

/// Steps of the heat map's colour scale.
pub const HEATS: usize = 8;

/// What something is drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// What is not counted.
    Shade,
    /// Lines of the grid.
    Grid,
    /// Axes.
    Frame,
    /// Text at ticks.
    Text,
    /// Text that names an axis.
    Name,
    /// What was asked for, against what came: offered load, zero line.
    Reference,
    /// One of the series, below [`SERIES`].
    Series(usize),
    /// One step of the heat map, below [`HEATS`].
    Heat(usize),
}

/// Okabe and Ito's colours, told apart by colour-blind people, darkened where they would be too
/// faint on white.
const SERIES_LIGHT: [u32; SERIES] =
    [0x00_72b2, 0xd5_5e00, 0x00_8f68, 0xb3_4f8a, 0xb8_8400, 0x2b_93cf, 0x5b_5b5b, 0x7a_3e9d];

/// The same on a dark ground.
const SERIES_DARK: [u32; SERIES] =
    [0x5a_b4ff, 0xff_8f45, 0x2f_cf9f, 0xee_8fc6, 0xf0_c542, 0x9a_dcff, 0xc4_c4c4, 0xc3_97e8];

/// Cividis, which looks the same with and without red-green blindness; few is pale.
const HEAT_LIGHT: [u32; HEATS] =
    [0xe9_eef6, 0xcb_d9ec, 0xa3_c1e0, 0x73_a5d0, 0x44_86bc, 0x22_67a1, 0x10_4a80, 0x07_2c54];

/// The same on a dark ground; few is dark.
const HEAT_DARK: [u32; HEATS] =
    [0x1d_2c42, 0x22_406a, 0x2c_5a94, 0x42_7bb8, 0x6a_9ccf, 0x9b_bcd9, 0xd0_d4b0, 0xff_e98a];

impl Ink {
    fn all() -> impl Iterator<Item = Self> {
        let fixed = [Self::Shade, Self::Grid, Self::Frame, Self::Text, Self::Name, Self::Reference];
        let series = (0..SERIES).map(Self::Series);
        fixed.into_iter().chain(series).chain((0..HEATS).map(Self::Heat))
    }

    /// On a light and on a dark ground, as 0xRRGGBB. No two inks share the first one.
    fn tones(self) -> (u32, u32) {
        match self {
            Self::Shade => (0xf1_f2f4, 0x1b_222b),
            Self::Grid => (0xe4_e7eb, 0x2b_313a),
            Self::Frame => (0x9a_a3ad, 0x5d_6773),
            Self::Text => (0x4a_5360, 0xb4_bdc9),
            Self::Name => (0x1f_2730, 0xe3_e8ee),
            Self::Reference => (0x77_7f88, 0x98_a2ae),
            Self::Series(index) => (SERIES_LIGHT[index % SERIES], SERIES_DARK[index % SERIES]),
            Self::Heat(index) => (HEAT_LIGHT[index % HEATS], HEAT_DARK[index % HEATS]),
        }
    }

    fn colour(self) -> RGBColor {
        let [_, red, green, blue] = self.tones().0.to_be_bytes();
        RGBColor(red, green, blue)
    }

    /// Name in the style sheet.
    pub fn name(self) -> String {
        match self {
            Self::Shade => "shade".to_owned(),
            Self::Grid => "grid".to_owned(),
            Self::Frame => "frame".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Name => "name".to_owned(),
            Self::Reference => "reference".to_owned(),
            Self::Series(index) => format!("s{}", index % SERIES),
            Self::Heat(index) => format!("h{}", index % HEATS),
        }
    }
}

/// Style sheet of all inks: variables for both grounds, and the rules that replace what the
/// drawing library wrote.
pub fn ink_style() -> String {
    let mut light = String::new();
    let mut dark = String::new();
    let mut rules = String::new();
    for ink in Ink::all() {
        let name = ink.name();
        let (on_light, on_dark) = ink.tones();
        put(&mut light, format_args!("--{name}:#{on_light:06x};"));
        put(&mut dark, format_args!("--{name}:#{on_dark:06x};"));
        let code = format!("{on_light:06X}");
        put(
            &mut rules,
            format_args!(
                ".plot [stroke=\"#{code}\"]{{stroke:var(--{name})}}\
                 .plot [fill=\"#{code}\"]{{fill:var(--{name})}}\n"
            ),
        );
    }
    format!(
        ":root{{{light}}}\n@media (prefers-color-scheme:dark) and (not print){{:root{{{dark}}}}}\n{rules}"
    )
}

/// A line through points, in pieces where something is missing.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its colour.
    pub ink: Ink,
    /// Its name in the legend and under the pointer.
    pub name: String,
    /// Pieces of (x, y).
    pub pieces: Vec<Vec<(f64, f64)>>,
    /// Thickness.
    pub pixels: f64,
}

/// Thickness of a line, pixels.
const LINE_PIXELS: f64 = 2.0;

impl Line {
    /// A line over values of which some may be missing.
    pub fn new(ink: Ink, name: &str, points: impl IntoIterator<Item = (f64, Option<f64>)>) -> Self {
        let mut pieces: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
        for (x, y) in points {
            match y.filter(|y| y.is_finite()) {
                Some(y) => pieces.last_mut().expect("starts with one piece").push((x, y)),
                None if pieces.last().is_some_and(|piece| !piece.is_empty()) => {
                    pieces.push(Vec::new());
                }
                None => {}
            }
        }
        pieces.retain(|piece| !piece.is_empty());
        Self { ink, name: name.to_owned(), pieces, pixels: LINE_PIXELS }
    }

    /// The same line in another thickness.
    pub fn thick(self, pixels: f64) -> Self {
        Self { pixels, ..self }
    }

    /// All points.
    pub fn points(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.pieces.iter().flatten().copied()
    }
}

/// A filled rectangle: one field of a heat map.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Step of the colour scale.
    pub heat: usize,
    /// From and to on the horizontal axis.
    pub x: (f64, f64),
    /// From and to on the vertical axis.
    pub y: (f64, f64),
}

/// A confidence interval: a bar with a point, at a height of its own.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    /// Colour.
    pub ink: Ink,
    /// Place on the horizontal axis.
    pub x: f64,
    /// Lower end, estimate, upper end.
    pub y: (f64, f64, f64),
}

/// What is drawn into the axes.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// Parts of the horizontal axis that are shaded, below everything.
    pub shades: Vec<(f64, f64)>,
    /// Heat map.
    pub fields: Vec<Field>,
    /// Moments marked by a line from top to bottom.
    pub verticals: Vec<f64>,
    /// Lines.
    pub lines: Vec<Line>,
    /// Intervals.
    pub intervals: Vec<Interval>,
    /// Points worth an accent, each with the ink of its line.
    pub dots: Vec<(Ink, f64, f64)>,
}

/// One figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Anchor on the page.
    pub id: String,
    /// What it shows.
    pub title: String,
    /// What to look for.
    pub caption: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// Content.
    pub marks: Marks,
    /// Names of the heat map's colour steps, from few to many.
    pub heats: Vec<String>,
    /// Over the whole width of the page.
    pub wide: bool,
}

impl Figure {
    /// As HTML.
    pub fn html(&self) -> String {
        let mut html = String::new();
        let class = if self.wide { "wide" } else { "half" };
        put(
            &mut html,
            format_args!(
                "<figure class=\"{class}\" id=\"{}\">\n<h3>{}</h3>\n{}",
                escape(&self.id),
                escape(&self.title),
                self.legend()
            ),
        );
        html.push_str("<div class=\"plot\">");
        html.push_str(&self.svg());
        html.push_str("</div>\n");
        put(&mut html, format_args!("<figcaption>{}</figcaption>\n", escape(&self.caption)));
        html.push_str("</figure>\n");
        html
    }

    fn legend(&self) -> String {
        // There even if empty: the parts of figures in one row stand at the same heights.
        let mut html = String::from("<div>");
        let mut seen: Vec<(Ink, &str)> = Vec::new();
        for line in &self.marks.lines {
            if !line.name.is_empty() && !seen.contains(&(line.ink, line.name.as_str())) {
                seen.push((line.ink, line.name.as_str()));
            }
        }
        if !seen.is_empty() {
            html.push_str("<ul class=\"legend\">");
            for (ink, name) in seen {
                put(
                    &mut html,
                    format_args!(
                        "<li><svg width=\"26\" height=\"10\" aria-hidden=\"true\">\
                         <line class=\"key\" style=\"stroke:var(--{0})\" x1=\"1\" y1=\"5\" x2=\"25\" y2=\"5\"/></svg>{1}</li>",
                        ink.name(),
                        escape(name)
                    ),
                );
            }
            html.push_str("</ul>\n");
        }
        if !self.heats.is_empty() {
            html.push_str("<ul class=\"legend heat\"><li class=\"what\">messages per field</li>");
            for (heat, name) in self.heats.iter().enumerate() {
                put(
                    &mut html,
                    format_args!(
                        "<li><i style=\"background:var(--{})\"></i>{}</li>",
                        Ink::Heat(heat).name(),
                        escape(name)
                    ),
                );
            }
            html.push_str("</ul>\n");
        }
        html.push_str("</div>\n");
        html
    }

    fn svg(&self) -> String {
        let width = if self.wide { WIDTHS.1 } else { WIDTHS.0 };
        let mut svg = String::new();
        self.draw(&mut svg, (width * FINE, HEIGHT * FINE))
            .expect("a string takes everything that is written to it");
        // The figure takes the width it is given: what the page needs to know of it instead is
        // how a place under the pointer becomes a value.
        let (left, right, top, bottom) = self.borders();
        let start = svg.find("viewBox").expect("the library writes the attribute");
        // One name for each path, in the order in which they are drawn.
        let paths = self.marks.lines.iter().flat_map(|line| {
            let pieces = line.pieces.iter().filter(|piece| piece.len() > 1);
            pieces.map(|_| line.name.replace('|', "¦"))
        });
        let names: Vec<String> = paths.collect();
        let head = format!(
            "<svg role=\"img\" aria-label=\"{}\" data-x=\"{}\" data-y=\"{}\" \
             data-box=\"{left} {top} {} {}\" data-lines=\"{}\" data-names=\"{}\" ",
            escape(&self.title),
            scale(&self.x),
            scale(&self.y),
            width * FINE - right,
            HEIGHT * FINE - bottom,
            names.len(),
            escape(&names.join("|")),
        );
        // Full opacity is the default; thousands of fields need not say it.
        head + &svg[start..]
            .replace("opacity=\"1\" ", "")
            .replace(" stroke=\"none\"", "")
            .replace(NAMESPACE, "")
    }

    /// Left, right, top and bottom margin around the plotted area, in units of the drawing.
    fn borders(&self) -> (u32, u32, u32, u32) {
        let longest = self.y.ticks().iter().map(|tick| self.y.text(*tick).chars().count()).max();
        // Digits of 12 pixels' height are about 6.7 wide; beside them the axis' own name.
        let left = 34 + (longest.unwrap_or(0) as f64 * 6.7) as u32;
        (left * FINE, 22 * FINE, 10 * FINE, 46 * FINE)
    }

    fn draw(&self, svg: &mut String, size: (u32, u32)) -> Result<(), Fault> {
        let root = SVGBackend::with_string(svg, size).into_drawing_area();
        let (left, right, top, bottom) = self.borders();
        let mut chart = ChartBuilder::on(&root)
            .margin_right(right)
            .margin_top(top)
            .x_label_area_size(bottom)
            .y_label_area_size(left)
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        chart.draw_series(self.marks.shades.iter().map(|(from, to)| {
            let corners = [(*from, self.y.high), (*to, self.y.low)];
            Rectangle::new(corners, Ink::Shade.colour().filled())
        }))?;
        chart.draw_series(self.marks.fields.iter().map(|field| {
            let corners = [(field.x.0, field.y.1), (field.x.1, field.y.0)];
            Rectangle::new(corners, Ink::Heat(field.heat).colour().filled())
        }))?;
        let x_text = |value: &f64| self.x.text(*value);
        let y_text = |value: &f64| self.y.text(*value);
        chart
            .configure_mesh()
            .bold_line_style(stroke(Ink::Grid, 1.0))
            .light_line_style(stroke(Ink::Grid, 0.0))
            .max_light_lines(0)
            .axis_style(stroke(Ink::Frame, 1.0))
            .x_labels(self.x.ticks().len())
            .y_labels(self.y.ticks().len())
            .x_label_formatter(&x_text)
            .y_label_formatter(&y_text)
            .x_desc(&self.x.label)
            .y_desc(&self.y.label)
            .label_style(text(Ink::Text, 12))
            .axis_desc_style(text(Ink::Name, 13))
            .set_all_tick_mark_size(4 * FINE)
            .draw()?;
        chart.draw_series(self.marks.verticals.iter().map(|x| {
            let ends = vec![(*x, self.y.low), (*x, self.y.high)];
            PathElement::new(ends, stroke(Ink::Reference, 1.0))
        }))?;
        for interval in &self.marks.intervals {
            let (low, middle, high) = interval.y;
            let bar = vec![(interval.x, low), (interval.x, high)];
            let dot = Circle::new((interval.x, middle), 5 * FINE, interval.ink.colour().filled());
            chart.draw_series([PathElement::new(bar, stroke(interval.ink, 3.0))])?;
            chart.draw_series([dot])?;
        }
        chart.draw_series(
            self.marks
                .dots
                .iter()
                .map(|(ink, x, y)| Circle::new((*x, *y), 4 * FINE, ink.colour().filled())),
        )?;
        // Lines come last: what shows values under the pointer takes the last paths as the lines.
        for line in &self.marks.lines {
            for piece in &line.pieces {
                if let [(x, y)] = piece[..] {
                    let dot = Circle::new((x, y), 3 * FINE, line.ink.colour().filled());
                    chart.draw_series([dot])?;
                } else {
                    let style = stroke(line.ink, line.pixels);
                    chart.draw_series(LineSeries::new(piece.iter().copied(), style))?;
                }
            }
        }
        root.present()
    }
}

type Fault = DrawingAreaErrorKind<std::io::Error>;

/// A style of a line so many pixels thick.
fn stroke(ink: Ink, pixels: f64) -> ShapeStyle {
    ink.colour().stroke_width((pixels * f64::from(FINE)) as u32)
}

/// A style of a text so many pixels high.
fn text(ink: Ink, pixels: u32) -> TextStyle<'static> {
    // The backend divides the size by 1.24 for its idea of a font's height.
    let size = f64::from(pixels * FINE) * 1.24;
    ("system-ui, sans-serif", size).into_font().color(&ink.colour())
}

/// What turns a place on an axis back into a value: scale, unit, low, high.
fn scale(axis: &Axis) -> String {
    let scale = match axis.scale {
        Scale::Linear => "lin",
        Scale::Log => "log",
        Scale::Nines => "nines",
    };
    let unit = match axis.unit {
        Unit::Microseconds => "us",
        Unit::Bytes => "bytes",
        Unit::Count => "count",
        Unit::Span | Unit::Cores => "",
        Unit::Percent => "%",
        Unit::Percentile => "p",
    };
    format!("{scale},{unit},{},{}", axis.low, axis.high)
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string cannot fail");
}
