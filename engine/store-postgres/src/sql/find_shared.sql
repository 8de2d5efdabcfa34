-- The step that last shared what it made under a key.
select run, node, item, seal from shared where key = $1 and media = $2
