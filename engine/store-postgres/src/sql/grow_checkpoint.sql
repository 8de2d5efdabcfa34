-- Makes a checkpoint the latest that grew from the latest, $4. Its value is what that one had, and what
-- the row in checkpoint_growth says.
update checkpoint
set seq = $5, attempt = $6, covers_from = $7, covers_to = $8, saved_at = $9
where run = $1 and node = $2 and item = $3 and seq = $4
