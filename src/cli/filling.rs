//! How replicas were chosen, in words and for scripts.

use ohmc::optimize::{Filled, Tried};
use serde_json::{Value, json};

use super::output::counted;

/// Picoseconds of a microsecond.
const PS_PER_US: f64 = 1e6;

fn us(ps: u64) -> f64 {
    ps as f64 / PS_PER_US
}

/// A line for each method, the best marked, and what limits all of them.
pub fn text(filled: &Filled) -> String {
    let mut text = format!("replicas for {}, by the closed form of their timing\n", filled.goal);
    for (index, tried) in filled.tried.iter().enumerate() {
        let Tried { method, estimate, n_pes, energy_pj } = tried;
        let mark = if index == filled.best { "*" } else { " " };
        let energy = energy_pj.map_or(String::new(), |pj| format!(", {:.1} nJ", pj / 1000.0));
        text += &format!(
            "{mark} {method:14}an input every {:.1} us, {:.1} us alone, {} of {} PEs{energy}\n",
            us(estimate.interval_ps),
            us(estimate.latency_ps),
            n_pes,
            filled.n_pes,
        );
    }
    if let Some((none, best)) = filled.ends() {
        let times = |a: u64, b: u64| a as f64 / b.max(1) as f64;
        text += &format!(
            "  gain          {:.2} x inputs a second, {:.2} x sooner alone; no choice of replicas goes\n\
             \u{20}               below {:.1} us, which is {:.2} x: the work of all tiles on every PE alike\n",
            times(none.estimate.interval_ps, best.estimate.interval_ps),
            times(none.estimate.latency_ps, best.estimate.latency_ps),
            us(filled.bound_ps),
            times(none.estimate.interval_ps, filled.bound_ps),
        );
    }
    if let Some(bound_ps) = filled.issue_bound_ps {
        text += &format!(
            "  issue         no sooner than every {:.1} us, if waves were issued without a pause by\n\
             \u{20}               all cores alike and nothing else took time\n",
            us(bound_ps)
        );
    }
    text + &copies(filled)
}

/// `conv1 x 3, conv2 x 2`, the first few.
fn copies(filled: &Filled) -> String {
    const SHOWN_MAX: usize = 8;
    let windows = filled.windows.iter().take(SHOWN_MAX);
    let windows = windows.map(|(name, window)| format!("--unroll {name}={window}"));
    let mut copies: Vec<String> = filled
        .replicas
        .iter()
        .take(SHOWN_MAX)
        .map(|(name, n)| format!("--replicas {name}={n}"))
        .chain(windows)
        .collect();
    if filled.replicas.len() > SHOWN_MAX {
        let rest = filled.replicas.len() - SHOWN_MAX;
        copies.push(format!("and of {} more", counted(rest as u64, "layer")));
    }
    match copies.as_slice() {
        [] => "  copies        none\n".to_string(),
        copies => format!("  copies        {}\n", copies.join(" ")),
    }
}

/// Every method with its figures.
pub fn json(filled: &Filled) -> Value {
    let method = |tried: &Tried| {
        json!({
            "method": tried.method,
            "interval_us": us(tried.estimate.interval_ps),
            "latency_us": us(tried.estimate.latency_ps),
            "pes": tried.n_pes,
            "energy_pj": tried.energy_pj,
        })
    };
    json!({
        "goal": filled.goal.to_string(),
        "best": filled.tried.get(filled.best).map(|tried| tried.method),
        "bound_interval_us": us(filled.bound_ps),
        "issue_bound_interval_us": filled.issue_bound_ps.map(us),
        "methods": filled.tried.iter().map(method).collect::<Vec<_>>(),
        "replicas": filled.replicas,
        "windows": filled.windows,
    })
}
