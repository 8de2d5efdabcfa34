-- What the store called an object when a step had put it there.
alter table artifact add column etag text;
