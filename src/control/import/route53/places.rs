//! Where AWS's regions are, roughly.

use crate::control::import::draft::Place;

/// Degrees of latitude and longitude.
const REGIONS: &[(&str, f64, f64)] = &[
    ("af-south-1", -33.9, 18.4),
    ("ap-east-1", 22.3, 114.2),
    ("ap-northeast-1", 35.7, 139.7),
    ("ap-northeast-2", 37.6, 127.0),
    ("ap-northeast-3", 34.7, 135.5),
    ("ap-south-1", 19.1, 72.9),
    ("ap-south-2", 17.4, 78.5),
    ("ap-southeast-1", 1.3, 103.8),
    ("ap-southeast-2", -33.9, 151.2),
    ("ap-southeast-3", -6.2, 106.8),
    ("ap-southeast-4", -37.8, 145.0),
    ("ca-central-1", 45.5, -73.6),
    ("ca-west-1", 51.0, -114.1),
    ("cn-north-1", 39.9, 116.4),
    ("cn-northwest-1", 37.5, 105.2),
    ("eu-central-1", 50.1, 8.7),
    ("eu-central-2", 47.4, 8.5),
    ("eu-north-1", 59.3, 18.1),
    ("eu-south-1", 45.5, 9.2),
    ("eu-south-2", 41.6, -0.9),
    ("eu-west-1", 53.3, -6.3),
    ("eu-west-2", 51.5, -0.1),
    ("eu-west-3", 48.9, 2.4),
    ("il-central-1", 32.1, 34.8),
    ("me-central-1", 24.5, 54.4),
    ("me-south-1", 26.1, 50.6),
    ("sa-east-1", -23.5, -46.6),
    ("us-east-1", 39.0, -77.5),
    ("us-east-2", 40.0, -83.0),
    ("us-west-1", 37.4, -122.0),
    ("us-west-2", 45.8, -119.7),
];

/// `None`: a region that is not known here.
pub fn region(name: &str) -> Option<Place> {
    let found = REGIONS.iter().find(|(region, ..)| *region == name);
    found.map(|&(_, latitude, longitude)| Place { latitude, longitude })
}

/// The region that a name of AWS has in it, such as that of a load balancer.
pub fn in_name(name: &str) -> Option<Place> {
    name.split('.').find_map(region)
}

/// Coordinates as they are written.
pub fn at(latitude: &str, longitude: &str) -> Option<Place> {
    let (latitude, longitude) = latitude.parse::<f64>().ok().zip(longitude.parse::<f64>().ok())?;
    let fits = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
    fits.then_some(Place { latitude, longitude })
}
