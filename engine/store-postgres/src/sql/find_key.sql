-- What a request key stands for.
select run, digest from request_key where key = $1
