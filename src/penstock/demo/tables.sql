CREATE SCHEMA ops;
CREATE TABLE ops.airlines (
    carrier varchar(2) PRIMARY KEY,
    name text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE ops.airports (
    faa varchar(3) PRIMARY KEY,
    name text NOT NULL,
    lat numeric(10,7),
    lon numeric(10,7),
    alt integer,
    tz integer,
    dst char(1),
    tzone text,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE ops.planes (
    tailnum text PRIMARY KEY,
    year smallint,
    type text,
    manufacturer text,
    model text,
    engines smallint,
    seats smallint,
    speed smallint,
    engine text,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE ops.weather (
    origin char(3),
    year smallint,
    month smallint,
    day smallint,
    hour smallint,
    temp numeric,
    dewp numeric,
    humid double precision,
    wind_dir smallint,
    wind_speed double precision,
    wind_gust double precision,
    precip numeric,
    pressure double precision,
    visib double precision,
    time_hour timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (origin, time_hour)
);
CREATE INDEX ON ops.weather (updated_at);
CREATE INDEX ON ops.planes (updated_at);
