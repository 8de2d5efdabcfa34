//! Scrambled transport streams, whose packets demuxers drop in silence.

/// Packets below this identifier, and the last one, carry tables or nothing.
const FIRST_MEDIA_PID: u16 = 0x20;
const NULL_PID: u16 = 0x1fff;

/// Whether most media packets at the start of a transport stream are scrambled: the two bits
/// `transport_scrambling_control` (ISO 13818-1 section 2.4.3.2) are not 0.
pub(super) fn is_scrambled(head: &[u8], packet_bytes: usize) -> bool {
    let sync = if packet_bytes == 192 { 4 } else { 0 };
    let headers = head
        .get(sync..)
        .unwrap_or_default()
        .chunks_exact(packet_bytes)
        .filter(|packet| packet[0] == 0x47)
        .filter(|packet| {
            let pid = u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]);
            (FIRST_MEDIA_PID..NULL_PID).contains(&pid)
        });
    let (mut scrambled, mut all) = (0, 0);
    for packet in headers {
        all += 1;
        scrambled += usize::from(packet[3] & 0xc0 != 0);
    }
    scrambled * 2 > all
}
