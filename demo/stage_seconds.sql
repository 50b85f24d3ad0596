-- How long each stage lasted, without the pauses between them.
SELECT stage, round(extract(epoch FROM max(at) - min(at)), 1)
  FROM livemigrate.events
 WHERE message IN ('migration started', 'stage ' || stage || ' begins',
                   'stage ' || stage || ' has ended')
 GROUP BY stage
HAVING count(*) > 1
 ORDER BY min(at);
