-- Whether a session runs anything; found like `running_of`.
select exists (
    select
    from run
    inner join step on step.run = run.id
    where run.ended_at is null and step.session = $1
)
