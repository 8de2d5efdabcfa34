/// What a service is to call the bytes of an object when it serves them to players: they refuse some
/// of these under another name. None for what only telecine reads.
pub(super) fn media_type(key: &str) -> Option<String> {
    let (_, extension) = key.rsplit_once('.')?;
    let name = match extension {
        "m3u8" => "application/vnd.apple.mpegurl",
        "mpd" => "application/dash+xml",
        "mp4" | "m4v" | "m4s" => "video/mp4",
        "m4a" => "audio/mp4",
        "vtt" => "text/vtt",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "gif" => "image/gif",
        "json" => "application/json",
        _ => return None,
    };
    Some(name.to_owned())
}
