//! What the dashboard plots: `deploy/grafana/cgn.json`, as far as a page needs it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The dashboard as shipped.
pub const DASHBOARD: &str = include_str!("../../../deploy/grafana/cgn.json");

#[derive(Deserialize)]
struct Document {
    panels: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    targets: Vec<Query>,
    #[serde(default, rename = "fieldConfig")]
    field: Field,
}

#[derive(Default, Deserialize)]
struct Field {
    #[serde(default)]
    defaults: Defaults,
}

#[derive(Default, Deserialize)]
struct Defaults {
    #[serde(default)]
    unit: String,
}

/// One query of a plot.
#[derive(Clone, Debug, Deserialize)]
pub struct Query {
    #[serde(rename = "expr")]
    pub expression: String,
    #[serde(rename = "legendFormat")]
    legend: String,
}

impl Query {
    /// Name of a line: the legend with `{{label}}`s replaced by their values.
    #[must_use]
    pub fn legend_of(&self, labels: &BTreeMap<String, String>) -> String {
        let place = |legend: String, (name, value): (&String, &String)| {
            legend.replace(&format!("{{{{{name}}}}}"), value)
        };
        labels.iter().fold(self.legend.clone(), place)
    }
}

/// A headline, or a plot.
#[derive(Clone, Debug)]
pub enum Panel {
    Row(String),
    Plot(Plot),
}

/// Some lines over time.
#[derive(Clone, Debug)]
pub struct Plot {
    pub title: String,
    pub description: String,
    /// Grafana's name of the unit.
    pub unit: String,
    pub queries: Vec<Query>,
}

/// Everything on the dashboard, in its order.
///
/// # Panics
/// The dashboard in the program is not one; a test reads it.
#[must_use]
pub fn panels() -> Vec<Panel> {
    let document: Document = serde_json::from_str(DASHBOARD).expect("the dashboard as shipped");
    let entries = document.panels.into_iter();
    entries
        .map(|entry| match entry.kind.as_str() {
            "row" => Panel::Row(entry.title),
            _ => Panel::Plot(Plot {
                title: entry.title,
                description: entry.description,
                unit: entry.field.defaults.unit,
                queries: entry.targets,
            }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_plot_has_a_query_and_a_unit_that_the_page_knows() {
        let mut plots = 0;
        for panel in panels() {
            if let Panel::Plot(plot) = panel {
                plots += 1;
                assert!(!plot.queries.is_empty(), "{}", plot.title);
                let known = ["pps", "bps", "short", "percentunit", "s", "bytes"];
                assert!(
                    known.contains(&plot.unit.as_str()),
                    "{}: {}",
                    plot.title,
                    plot.unit
                );
            }
        }
        assert!(plots >= 16, "{plots} plots");
    }

    #[test]
    fn a_legend_has_the_values_of_its_labels() {
        let query = Query {
            expression: String::new(),
            legend: "{{pool}}: {{reason}}".into(),
        };
        let labels = [("pool", "home"), ("reason", "no_slab"), ("job", "cgn")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(query.legend_of(&labels.into()), "home: no_slab");
    }
}
