-- Which carriers lose most time, at which airport, in which weather?
WITH departures AS (
    SELECT
        airlines.name AS carrier,
        flights.origin,
        CASE
            WHEN weather.visib < 2 THEN 'fog'
            WHEN weather.precip > 0 AND weather.temp <= 34 THEN 'snow'
            WHEN weather.precip > 0 THEN 'rain'
            WHEN weather.wind_speed >= 20 THEN 'wind'
            ELSE 'fair'
        END AS weather,
        flights.dep_delay
    FROM nyc.flights
    JOIN nyc.airlines ON airlines.carrier = flights.carrier
    JOIN nyc.weather ON weather.origin = flights.origin AND weather.time_hour = flights.time_hour
    WHERE NOT flights.cancelled
)
SELECT
    carrier,
    origin,
    weather,
    count(*) AS flights,
    round(avg(dep_delay), 1) AS minutes_late,
    round(100.0 * avg((dep_delay > 60)::int), 1) AS pct_over_an_hour
FROM departures
GROUP BY ALL
HAVING count(*) >= 200
ORDER BY minutes_late DESC
LIMIT 12
