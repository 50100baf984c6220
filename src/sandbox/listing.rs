//! A list such as people really have, about the tenant's own profiles: mostly clean, and not quite.

use super::options::Options;
use std::fmt::Write;

/// Writes a list that names the first `people` profiles, as CSV with semicolons. A pure function of its arguments.
///
/// Beside them it has repeats, upper case, padding, typos, strangers and empty cells, all in random order.
pub fn realistic_list(options: &Options, people: u32) -> String {
    let mut random = fastrand::Rng::with_seed(options.seed);
    let mut cells = Vec::new();
    for index in 0..people.min(options.profiles) {
        let email = options.person(index).email;
        cells.push(match random.u32(0..100) {
            0..4 => email.to_uppercase(),
            4..7 => format!("  {email} "),
            7 => email.replacen('@', "@@", 1),
            8 => email.replacen('.', ",", 1),
            9 => format!("\"{email}\""),
            _ => email.clone(),
        });
        if random.u32(0..100) < 4 {
            cells.push(email);
        }
        if random.u32(0..100) < 4 {
            cells.push(format!("stranger{index}@example.org"));
        }
        if random.u32(0..1_000) == 0 {
            cells.push(String::new());
        }
    }
    random.shuffle(&mut cells);
    let mut list = String::from("Customer No;Customer Email;Joined\r\n");
    for (position, cell) in cells.iter().enumerate() {
        let (number, year, month) = (position + 1, 2010 + position % 15, 1 + position % 12);
        let _ = write!(list, "C-{number:06};{cell};{year}-{month:02}-01\r\n");
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_everybody_and_more() {
        let options = Options::default();
        let list = realistic_list(&options, 500);
        assert_eq!(list, realistic_list(&options, 500));
        let rows = list.lines().count() - 1;
        assert!((510..560).contains(&rows), "{rows}");
        assert!(list.contains("stranger"));
    }
}
