//! ONNX Runtime's messages for people: without the place in its source and the signature of the function there.

/// The message without `…/file.cc:123 type namespace::function(arguments)`; a message without such a place is left as
/// it is.
pub(super) fn plain(text: &str) -> String {
    let Some((before, rest)) =
        [".cc:", ".h:", ".cpp:"].iter().filter_map(|mark| text.split_once(mark)).min_by_key(|(before, _)| before.len())
    else {
        return text.to_owned();
    };
    let after_line = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let Some(message) = after_signature(after_line).filter(|message| !message.is_empty()) else {
        return text.to_owned();
    };
    // The file's path is the last word before the mark, or stands right after a colon.
    let start = before.rfind([' ', ':']).map_or(0, |at| at + 1);
    let lead = before[..start].trim_end().trim_end_matches(':').trim_end();
    let message = message.trim();
    if lead.is_empty() { plain(message) } else { format!("{lead}: {}", plain(message)) }
}

/// What follows the arguments of a C++ function's signature at the start of the text.
fn after_signature(text: &str) -> Option<&str> {
    let mut depth = 0_i32;
    let mut seen = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => {
                depth += 1;
                seen = true;
            }
            ')' => depth -= 1,
            '\n' => return None,
            _ => {}
        }
        if seen && depth == 0 {
            let rest = text[at + 1..].trim_start();
            let rest = rest.strip_prefix("const").unwrap_or(rest).trim_start();
            let rest = match rest.strip_prefix("[with ") {
                Some(with) => with.split_once(']').map_or(rest, |(_, rest)| rest),
                None => rest,
            };
            // `operator()(arguments)` and lambdas have more than one pair of parentheses.
            if rest.starts_with('(') || rest.starts_with("::") {
                continue;
            }
            return Some(rest.trim_start());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_and_the_signature_are_left_out() {
        let told = "Load model from a.onnx failed:/onnxruntime_src/onnxruntime/core/graph/model.cc:180 \
                    onnxruntime::Model::Model(onnx::ModelProto&&, const PathString&, const logging::Logger&) \
                    Unsupported model IR version: 99, max supported IR version: 13";
        let plainly = "Load model from a.onnx failed: Unsupported model IR version: 99, max supported IR version: 13";
        assert_eq!(plain(told), plainly);
        let told = "Non-zero status code returned while running Reshape node. Name:'r' Status Message: \
                    /onnxruntime_src/core/reshape_helper.h:47 onnxruntime::ReshapeHelper::ReshapeHelper(const \
                    TensorShape&, TensorShapeVector&, bool) input_shape_size == size was false.";
        assert_eq!(
            plain(told),
            "Non-zero status code returned while running Reshape node. Name:'r' Status Message: input_shape_size == \
             size was false."
        );
    }

    #[test]
    fn other_messages_stay() {
        for text in ["", "Protobuf parsing failed.", "a.cc:12", "x.h:3 no signature here", "f(a) b"] {
            assert_eq!(plain(text), text);
        }
    }
}
