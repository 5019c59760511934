//! The gryadka node, and the demonstration cluster when it is given no deployment.
fn main() {}
