//! The MQTT session core between clients and hosts that are played here: what each norm asks of a
//! server, packet by packet.

#![allow(clippy::unwrap_used)] // the lint takes shared test code for ordinary code

mod connect;
mod desk;
mod flow;
mod hosts;
mod publish;
mod subscribe;
