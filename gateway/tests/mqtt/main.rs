//! The MQTT session core between clients and hosts that are played here: what each norm asks of a
//! server, packet by packet.

mod connect;
mod desk;
mod flow;
mod hosts;
mod publish;
mod subscribe;
