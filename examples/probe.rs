use ohmc::frontend::*;
fn main() {
    for p in std::env::args().skip(1) {
        println!("=== {p}");
        let files = ModelFiles {
            onnx: std::sync::Arc::new(std::fs::read(&p).unwrap()),
            ..Default::default()
        };
        match read(&files, &Default::default(), &p) {
            Ok(m) => println!("{:?} {:?}\n{}", m.inputs, m.outputs, m.graph),
            Err(e) => println!("{e}"),
        }
    }
}
