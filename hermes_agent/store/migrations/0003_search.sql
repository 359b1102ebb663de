-- The search index holds words and positions but no text and no sizes: text lives in `messages`, and
-- ranking is done on a bounded set of candidates. Characters of scripts without spaces are indexed one
-- by one (search_text.py). `search_range` says which message ids are indexed: low <= id <= high; what
-- is older than `low` is indexed little by little, newest first.

CREATE VIRTUAL TABLE message_words USING fts5 (
    body, content = '', columnsize = 0, tokenize = 'unicode61 remove_diacritics 2'
);
CREATE TABLE search_range (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    format INTEGER NOT NULL,
    low INTEGER NOT NULL,
    high INTEGER NOT NULL
);
INSERT INTO search_range (id, format, low, high)
    SELECT 1, 1, coalesce(max(id), 0) + 1, coalesce(max(id), 0) FROM messages;
